"""Millions of videos as a sequence that is a file: a video becomes an object when it is asked for."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from bodvcl.data.files.tars.arrow import read_arrow
from bodvcl.data.files.tars.rows import video_of
from bodvcl.data.files.video import VideoInfo
from bodvcl.data.tars.held import is_url
from bodvcl.errors import DataError

FACTS = b"bodvcl.facts"
"""Key of the file's metadata: JSON with ``urls``, the path or URL of each tar file, and other facts."""


class VideoTable(Sequence[VideoInfo]):
    """Videos in tar files, or some of them. Processes share the memory of one file.

    A copy that is sent to another process opens the same file there.

    Args:
        file: an Arrow file of :data:`~bodvcl.data.files.tars.rows.SCHEMA` with :data:`FACTS`.
        rows: int32 numbers of the rows that count, in order. None: all.

    Attributes:
        file: the file.
        facts: what its metadata says.

    Raises:
        DataError: the file cannot be read here.
    """

    def __init__(self, file: Path, rows: NDArray[np.int32] | None = None) -> None:
        self.file = file
        try:
            self._table = read_arrow(file)
            self.facts: dict[str, Any] = json.loads(self._table.schema.metadata[FACTS])
        except (OSError, pa.ArrowInvalid, KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"{file}: this index of the videos cannot be read here ({' '.join(str(error).split())}); "
                "with several machines set BODVCL_INDEX to a file in a folder that all of them see; else "
                "delete it"
            ) from error
        self._rows = rows
        self._kinds: dict[tuple[str, ...], tuple[NDArray[np.int32], NDArray[np.int32]]] = {}
        self._batches = self._table.to_batches()
        self._ends = np.cumsum([len(batch) for batch in self._batches])

    def __reduce__(self) -> tuple[Any, ...]:
        return VideoTable, (self.file, self._rows)

    def __len__(self) -> int:
        return self._table.num_rows if self._rows is None else len(self._rows)

    @overload
    def __getitem__(self, place: int) -> VideoInfo: ...
    @overload
    def __getitem__(self, place: slice) -> VideoTable: ...
    def __getitem__(self, place: int | slice) -> VideoInfo | VideoTable:
        if isinstance(place, slice):
            return self.taken(np.arange(len(self))[place])
        if not -len(self) <= place < len(self):
            raise IndexError(f"video {place} of {len(self)}")
        place %= len(self)
        row = place if self._rows is None else int(self._rows[place])
        batch = int(np.searchsorted(self._ends, row, side="right"))
        first = self._ends[batch] - len(self._batches[batch])
        (values,) = self._batches[batch].slice(row - first, 1).to_pylist()
        return video_of(values, self.facts["urls"])

    def __iter__(self) -> Iterator[VideoInfo]:
        return (self[place] for place in range(len(self)))

    def taken(self, places: NDArray[Any]) -> VideoTable:
        """The videos at some places.

        Args:
            places: numbers, or one bool for each video.
        """
        if places.dtype == bool:
            if places.all():
                return self
            places = np.flatnonzero(places)
        rows = places if self._rows is None else self._rows[places]
        return VideoTable(self.file, rows.astype(np.int32))

    def numbers(self, name: str) -> NDArray[Any]:
        """See :func:`bodvcl.data.files.columns.numbers`."""
        whole: NDArray[Any]
        if name == "variable_rate":
            whole = self._table["pts"].is_valid().to_numpy()
        elif name == "longest_group":
            whole = np.concatenate([_longest_groups(batch) for batch in self._batches])
        else:
            whole = self._table[name].to_numpy()
        return whole if self._rows is None else whole[self._rows]

    def label_names(self, column: str) -> set[str]:
        """See :func:`bodvcl.data.files.columns.label_names`."""
        chosen = pc.map_lookup(self._column("labels"), column, "first")
        return set(pc.unique(chosen).to_pylist()) - {None, ""}

    def kinds(self, names: Sequence[str]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """See :func:`bodvcl.data.files.columns.kinds`."""
        if tuple(names) not in self._kinds:
            codes = self._codes(names[0])
            for name in names[1:]:
                own = self._codes(name)
                pairs = codes.astype(np.int64) * (int(own.max(initial=0)) + 1) + own
                codes = _encoded(pa.array(pairs))
            first = np.zeros(codes.max(initial=-1) + 1, np.int32)
            first[codes[::-1]] = np.arange(len(codes), dtype=np.int32)[::-1]
            self._kinds = {tuple(names): (codes, first)}  # the last is often asked for again
        return self._kinds[tuple(names)]

    def _column(self, name: str) -> pa.ChunkedArray:
        column = self._table[name]
        return column if self._rows is None else column.take(pa.array(self._rows))

    def _codes(self, name: str) -> NDArray[np.int32]:
        return _encoded(self._column(name).combine_chunks())

    def files(self) -> list[tuple[str, tuple[int, ...]]]:
        """Path or URL of each tar file with one of the videos; its bytes, and how many of them it holds."""
        urls, sizes = self.facts["urls"], self.facts["sizes"]
        each = np.bincount(self.numbers("tar"), minlength=len(urls)).tolist()
        places = [url if is_url(url) else os.path.abspath(url) for url in urls]
        return [(place, (size, count)) for place, size, count in zip(places, sizes, each) if count]

    def paths(self) -> list[str]:
        """See :func:`bodvcl.data.files.columns.paths`."""
        tars, names = self.numbers("tar").tolist(), self._column("name").to_pylist()
        urls = self.facts["urls"]
        return [f"{urls[tar]}/{name}" for tar, name in zip(tars, names)]


def _longest_groups(batch: pa.RecordBatch) -> NDArray[np.int64]:
    """:attr:`VideoInfo.longest_group` of each video: all key frames lie in one array, video after video."""
    column = batch.column("keyframes")
    keys, ends = column.flatten().to_numpy(), column.offsets.to_numpy()[1:] - column.offsets[0].as_py()
    following = np.append(keys[1:], 0)
    following[ends - 1] = batch.column("frames").to_numpy()
    groups: NDArray[np.int64] = np.maximum.reduceat(following - keys, np.append(0, ends[:-1]))
    return groups


def _encoded(column: pa.Array) -> NDArray[np.int32]:
    """Numbers for the values of a column, in the order in which they occur."""
    numbers: NDArray[np.int32] = column.dictionary_encode().indices.to_numpy()
    return numbers
