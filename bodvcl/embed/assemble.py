"""The file of an embedding, from its parts and from the file that it replaces; memory holds one row group."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bodvcl.embed.file import TIMES, Embeddings, read_some, rows_in_memory, write_rows
from bodvcl.embed.parts import ROWS, Parts
from bodvcl.embed.plan import Plan
from bodvcl.errors import DataError
from bodvcl.text.words import counted


def assemble(plan: Plan, parts: Parts, out: Path) -> int:
    """Write the file.

    Args:
        plan: what was to do.
        parts: the vectors that were computed; all parts are there.
        out: the file. Where it exists, the rows that the plan knows are taken from it.

    Returns:
        Number of rows.

    Raises:
        DataError: there is no row.
        OSError: as the file system reports it.
    """
    read = [plan.place[parts.rows(number)] for number in range(plan.parts)]
    rows = np.union1d(np.flatnonzero(plan.known >= 0), np.concatenate([*read, np.zeros(0, np.int64)]))
    if not len(rows):
        raise DataError(f"none of {counted(len(plan.videos), 'video')} could be read")
    size = rows_in_memory(plan.about)
    groups = (rows[start : start + size] for start in range(0, len(rows), size))
    new = _New(plan, parts)
    write_rows(out, plan.about, len(rows), (_group(plan, group, new, out) for group in groups))
    return len(rows)


def _group(plan: Plan, rows: NDArray[np.int64], new: _New, out: Path) -> Embeddings:
    about = plan.about
    known = plan.known[rows]
    old = known >= 0
    kept = read_some(out, about, known[old]) if old.any() else {}
    made = new.take(rows[~old]) if not old.all() else {}
    values = {name: _merged(old, kept.get(name), made.get(name)) for name in about.columns()}
    videos = plan.rows.video[rows]
    chosen = videos.tolist()
    stamps = [plan.stamps[number] for number in chosen]
    times = values.pop(TIMES, None)
    return Embeddings(
        paths=[stamp.path for stamp in stamps],
        video=videos,
        start=plan.rows.start[rows],
        end=plan.rows.end[rows],
        size=np.array([stamp.size for stamp in stamps], np.int64),
        modified=np.array([stamp.modified for stamp in stamps], np.int64),
        labels={name: [column[number] for number in chosen] for name, column in plan.labels.items()},
        vectors=values,
        about=about,
        times=times,
    )


def _merged(old: NDArray[np.bool_], kept: NDArray[Any] | None, made: NDArray[Any] | None) -> NDArray[Any]:
    """Rows of ``kept`` where ``old`` is true, of ``made`` elsewhere."""
    if kept is None or made is None:
        either = made if kept is None else kept
        assert either is not None, "a row is old or new"
        return either
    values = np.empty((len(old), *kept.shape[1:]), kept.dtype)
    values[old], values[~old] = kept, made
    return values


class _New:
    """The rows of the parts, in order; one part is in memory."""

    def __init__(self, plan: Plan, parts: Parts) -> None:
        self._read = self._each(plan, parts)
        self._places: NDArray[np.int64] = np.zeros(0, np.int64)
        self._values: dict[str, NDArray[Any]] = {}

    def _each(self, plan: Plan, parts: Parts) -> Iterator[tuple[NDArray[np.int64], dict[str, NDArray[Any]]]]:
        for number in range(plan.parts):
            values = parts.read(number)
            yield plan.place[values.pop(ROWS)], values

    def take(self, rows: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """The vectors of the next rows."""
        taken: list[dict[str, NDArray[Any]]] = []
        missing = len(rows)
        while missing:
            while not len(self._places):
                self._places, self._values = next(self._read)
            count = min(missing, len(self._places))
            taken.append({name: values[:count] for name, values in self._values.items()})
            self._places = self._places[count:]
            self._values = {name: values[count:] for name, values in self._values.items()}
            missing -= count
        return {name: np.concatenate([one[name] for one in taken]) for name in taken[0]}
