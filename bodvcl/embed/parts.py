"""The vectors that an embedding has computed so far, in a folder beside its file, part by part."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import save

from bodvcl.data.files.stamp import Stamp
from bodvcl.embed.facts import differences
from bodvcl.embed.file import About
from bodvcl.errors import UserError
from bodvcl.runs.folder import write_atomically

ROWS = "rows"
"""Name under which a part has the numbers of its rows."""

_PLAN = "plan.parquet"


def folder_of(out: Path) -> Path:
    """The folder beside a file of embeddings that holds what is done, until the file is written."""
    return out.with_name(f"{out.name}.parts")


class Parts:
    """The parts of one embedding.

    Args:
        folder: see :func:`folder_of`.

    Attributes:
        folder: the same.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def begin(self, about: About, todo: Sequence[Stamp]) -> None:
        """Make the folder, for a new embedding or for one that was interrupted.

        Args:
            about: on what the vectors depend.
            todo: the videos of the rows that are computed; of each row one.

        Raises:
            UserError: the folder holds parts of another embedding; the message says what differs.
            OSError: it cannot be written.
        """
        plan = pa.table({name: [video[place] for video in todo] for place, name in enumerate(Stamp._fields)})
        plan = plan.replace_schema_metadata({"about": json.dumps(asdict(about))})
        file = self.folder / _PLAN
        if not file.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            sink = pa.BufferOutputStream()
            pq.write_table(plan, sink)
            write_atomically(file, sink.getvalue().to_pybytes())
            return
        before = pq.read_table(file)
        found = differences(About(**json.loads(before.schema.metadata[b"about"])), about)
        if not found and not before.equals(plan):
            found = [_changed(before, plan)]
        if found:
            raise UserError(
                f"{self.folder} holds what an interrupted command left, which differs in {'; '.join(found)}; "
                "begin anew with --restart, or choose another --out"
            )

    def done(self, number: int) -> bool:
        """Whether a part is there."""
        return self._file(number).exists()

    def save(
        self,
        number: int,
        rows: Sequence[int],
        vectors: Mapping[str, NDArray[Any]],
        failures: Sequence[tuple[str, str]],
    ) -> None:
        """Write a part.

        Args:
            number: number of the part.
            rows: numbers of its rows, increasing.
            vectors: kind to ``(rows, ...)``.
            failures: (path, reason) of what could not be read.

        Raises:
            OSError: as the file system reports it.
        """
        tensors = {ROWS: np.array(rows, np.int64), **{k: np.ascontiguousarray(v) for k, v in vectors.items()}}
        write_atomically(self._file(number), save(tensors, {"failures": json.dumps(failures)}))

    def read(self, number: int) -> dict[str, NDArray[Any]]:
        """A part: :data:`ROWS`, and the vectors by kind."""
        with safe_open(self._file(number), framework="np") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a mapping

    def rows(self, number: int) -> NDArray[np.int64]:
        """The numbers of a part's rows."""
        with safe_open(self._file(number), framework="np") as file:
            found: NDArray[np.int64] = file.get_tensor(ROWS)
        return found

    def failures(self, count: int) -> Iterator[tuple[str, str]]:
        """What could not be read in the first ``count`` parts: (path, reason)."""
        for number in range(count):
            with safe_open(self._file(number), framework="np") as file:
                yield from map(tuple, json.loads(file.metadata()["failures"]))

    def remove(self) -> None:
        """Remove the folder and all parts."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _file(self, number: int) -> Path:
        return self.folder / f"{number:06d}.safetensors"


def _changed(before: pa.Table, now: pa.Table) -> str:
    """How the videos of two plans differ, in words."""
    old, new = (set(zip(*(table[name].to_pylist() for name in Stamp._fields))) for table in (before, now))
    paths = {stamp[0] for stamp in old ^ new}
    if not paths:
        return "the order of the videos"
    others = f" and {len(paths) - 1} other videos" if len(paths) > 1 else ""
    return f"its videos: {min(paths)}{others} changed, came or went"
