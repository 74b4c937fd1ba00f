"""The vectors that an embedding has computed so far, in a folder beside its file, part by part."""

from __future__ import annotations

import contextlib
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
from bodvcl.runs.lock import LOCK

ROWS = "rows"
"""Name under which a part has the numbers of its rows."""

_PLAN = "plan.parquet"


def folder_of(out: Path) -> Path:
    """The folder beside a file of embeddings that holds what is done, until the file is written."""
    return out.with_name(f"{out.name}.parts")


class Parts:
    """The parts of one embedding.

    Args:
        out: the file of embeddings.

    Attributes:
        folder: see :func:`folder_of`.
    """

    def __init__(self, out: Path) -> None:
        self._out = out
        self.folder = folder_of(out)

    def refuse_other(self, about: About, *, restart: bool) -> None:
        """Refuse parts of an embedding with other options. Reads no vector and writes nothing.

        Args:
            about: on what the vectors depend.
            restart: parts of another embedding will be removed.

        Raises:
            UserError: the folder holds them; the message says what differs.
        """
        before = self._plan()
        if before is not None and not restart and not self._spent():
            self._refuse(differences(_about(before), about))

    def begin(self, about: About, todo: Sequence[Stamp], *, restart: bool) -> None:
        """Prepare the folder, which is there, for a new embedding or for one that was interrupted.

        Args:
            about: on what the vectors depend.
            todo: the videos of the rows that are computed; of each row one.
            restart: remove parts of another embedding, and those that were begun without ``restart``.

        Raises:
            UserError: the folder holds parts of another embedding; the message says what differs.
            OSError: it cannot be written.
        """
        facts = {"about": json.dumps(asdict(about)), "restart": json.dumps(restart)}
        plan = pa.table({name: [video[place] for video in todo] for place, name in enumerate(Stamp._fields)})
        before = self._plan()
        if before is not None and not self._spent():
            found = differences(_about(before), about)
            if not found and not before.equals(plan):
                found = [_changed(before, plan)]
            begun_so = restart <= json.loads(before.schema.metadata[b"restart"])
            if not found and begun_so:
                return
            if not restart:
                self._refuse(found)
        for file in self.folder.glob("*.*"):
            if file.name != LOCK:
                file.unlink()
        sink = pa.BufferOutputStream()
        pq.write_table(plan.replace_schema_metadata(facts), sink)
        write_atomically(self.folder / _PLAN, sink.getvalue().to_pybytes())

    def _plan(self) -> pa.Table | None:
        """The plan of the parts that are there."""
        file = self.folder / _PLAN
        return pq.read_table(file) if file.exists() else None

    def _spent(self) -> bool:
        """Whether the file was written from these parts, but they were not removed."""
        with contextlib.suppress(FileNotFoundError):
            return self._out.stat().st_mtime_ns > (self.folder / _PLAN).stat().st_mtime_ns
        return False

    def _refuse(self, found: Sequence[str]) -> None:
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


def _about(plan: pa.Table) -> About:
    return About(**json.loads(plan.schema.metadata[b"about"]))


def _changed(before: pa.Table, now: pa.Table) -> str:
    """How the videos of two plans differ, in words."""
    old, new = (set(zip(*(table[name].to_pylist() for name in Stamp._fields))) for table in (before, now))
    paths = {stamp[0] for stamp in old ^ new}
    if not paths:
        return "the order of the videos"
    others = f" and {len(paths) - 1} other videos" if len(paths) > 1 else ""
    return f"its videos: {min(paths)}{others} changed, came or went"
