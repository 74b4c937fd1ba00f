"""The rows of a file of embeddings as the page names, finds and shows them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from bodvcl.data.files.index import stamp
from bodvcl.embed.file import Embeddings
from bodvcl.search.changes import file_state
from bodvcl.text.words import printable

MOST_VALUES = 1000
"""A label with more values than this has no list to choose from; the search box finds them."""
_REMEMBERED = 8  # results of searches: the pages of one are asked for one after the other

Wanted = tuple[str, tuple[tuple[str, str], ...]]
"""Words that path or labels must contain, and (label, value) that a row must have."""


class Rows:
    """What the page says about rows. Nothing here depends on vectors.

    Args:
        embeddings: the rows.
    """

    def __init__(self, embeddings: Embeddings) -> None:
        self._rows = embeddings
        self._root = common_folder(embeddings.paths)
        self._labels = {name: pa.array(values, pa.string()) for name, values in embeddings.labels.items()}
        texts = [pa.array([path[len(self._root) :] for path in embeddings.paths], pa.string())]
        texts += [pc.fill_null(values, "") for values in self._labels.values()]
        self._text = pc.binary_join_element_wise(*texts, " ")
        self._select = lru_cache(_REMEMBERED)(self._selected)

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def about(self) -> dict[str, Any]:
        """What the file holds, for the head of the page."""
        about = self._rows.about
        return {
            "rows": len(self),
            "videos": len(np.unique(self._rows.video)),
            "folder": printable(self._root),
            "data": printable(about.data),
            "checkpoint": printable(about.checkpoint),
            "step": about.step,
            "window": about.window,
            "labels": {name: self._values(name) for name in self._labels},
        }

    def find(self, wanted: Wanted) -> NDArray[np.int64]:
        """Numbers of the rows that a search leaves, increasing.

        Raises:
            KeyError: there is no label of such a name.
        """
        return self._select(wanted)

    def show(self, row: int) -> dict[str, Any]:
        """A row as the page shows it; asks the file system whether its file is there."""
        rows = self._rows
        start, end = float(rows.start[row]), float(rows.end[row])
        problem, playable = self._state(row)
        return {
            "row": row,
            "name": printable(rows.paths[row][len(self._root) :]),
            "path": printable(rows.paths[row]),
            "when": when(start, end) if rows.about.window is not None else f"{end - start:.1f} s",
            "seconds": end - start,
            "labels": {name: values[row].as_py() for name, values in self._labels.items()},
            "problem": problem,
            "playable": playable,
        }

    def part(self, row: int) -> tuple[str, float, float]:
        """(path, start, end) of a row whose file is to be read."""
        return self._rows.paths[row], float(self._rows.start[row]), float(self._rows.end[row])

    def mark(self, row: int) -> tuple[int, int] | None:
        """Size and time of change of its file; None: there is none that can be read."""
        path = self._rows.paths[row]
        return stamp(path) if os.path.isabs(path) else None

    def _state(self, row: int) -> tuple[str, bool]:
        path = self._rows.paths[row]
        if not os.path.isabs(path):
            return "not a file of this machine: it cannot be shown", False
        if self.mark(row) is None:
            if ".tar/" in path:
                return "inside a tar file: it cannot be shown", False
            there = os.path.exists(path)
            return "no permission to read the file" if there else "the file is no longer there", False
        changed = file_state(self._rows, row) == "changed"
        return "the file has changed since it was embedded" if changed else "", True

    def _values(self, name: str) -> list[tuple[str, int]] | None:
        counts = pc.value_counts(self._labels[name].drop_null())
        if len(counts) > MOST_VALUES:
            return None
        return sorted((str(one["values"]), int(one["counts"])) for one in counts.to_pylist())

    def _selected(self, wanted: Wanted) -> NDArray[np.int64]:
        text, labels = wanted
        keep = np.ones(len(self), bool)
        for word in text.split():
            keep &= _true(pc.match_substring(self._text, word, ignore_case=True))
        for name, value in labels:
            keep &= _true(pc.equal(self._labels[name], value))
        return np.flatnonzero(keep)


def common_folder(paths: Sequence[str]) -> str:
    """The folder that all paths lie in, with the slash at its end; "" if there is none."""
    shared = os.path.commonprefix([min(paths), max(paths)])  # noqa: RUF071  # cut at a slash below
    return shared[: shared.rfind("/") + 1]


def when(start: float, end: float) -> str:
    """Seconds as a span of time: ``0:12.0 - 0:14.0``."""
    return f"{_clock(start)}–{_clock(end)}"


def labels_of(parameters: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """(label, value) of the parameters ``label.NAME=VALUE``."""
    return tuple(
        sorted(
            (key.removeprefix("label."), value)
            for key, value in parameters.items()
            if key.startswith("label.")
        )
    )


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds * 10), 600)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest / 10:04.1f}" if hours else f"{minutes}:{rest / 10:04.1f}"


def _true(values: pa.Array) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = pc.fill_null(values, False).to_numpy(zero_copy_only=False)
    return found
