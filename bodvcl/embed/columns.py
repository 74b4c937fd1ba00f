"""Arrays as columns of a Parquet file: fixed-size lists, written and read one row group at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray


class Column(NamedTuple):
    """Arrays that are a column.

    Attributes:
        shape: shape of the array of a row.
        kind: type of its entries: float32 or float64.
    """

    shape: tuple[int, ...]
    kind: type

    @property
    def field_type(self) -> pa.DataType:
        """Nested lists without nulls: Arrow reads and writes them several times as fast as with nulls."""
        nested = pa.from_numpy_dtype(self.kind)
        for length in reversed(self.shape):
            nested = pa.list_(pa.field("element", nested, nullable=False), length)
        return nested

    def empty(self, rows: int) -> NDArray[Any]:
        """An array ``(rows, ...)`` of this type, to be filled."""
        return np.empty((rows, *self.shape), self.kind)


def as_lists(values: NDArray[Any]) -> pa.Array:
    """An array ``(rows, ...)`` as fixed-size lists, nested where it has more axes."""
    lists = pa.array(np.ascontiguousarray(values).reshape(-1))
    shape = values.shape[1:]
    for axis in reversed(range(len(shape))):
        lists = pa.FixedSizeListArray.from_arrays(
            lists, type=Column(shape[axis:], values.dtype.type).field_type
        )
    return lists


def read_columns(path: Path, rows: int, columns: Mapping[str, Column]) -> dict[str, NDArray[Any]]:
    """Whole columns of a file of so many rows; in memory are these and one row group."""
    out = {name: column.empty(rows) for name, column in columns.items()}
    start = 0
    with pq.ParquetFile(path) as file:
        for group in range(file.num_row_groups if columns else 0):
            table = file.read_row_group(group, columns=list(columns))
            for name, column in columns.items():
                out[name][start : start + len(table)] = _as_array(table[name], column.shape)
            start += len(table)
    return out


def read_rows(path: Path, columns: Mapping[str, Column], rows: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    """Some rows of some columns, in any order; in memory are these and one row group."""
    out = {name: column.empty(len(rows)) for name, column in columns.items()}
    with pq.ParquetFile(path) as file:
        sizes = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
        starts = np.cumsum([0, *sizes])
        groups = np.searchsorted(starts, rows, side="right") - 1
        for group in np.unique(groups).tolist():
            table, wanted = file.read_row_group(group, columns=list(columns)), groups == group
            for name, column in columns.items():
                out[name][wanted] = _as_array(table[name], column.shape)[rows[wanted] - starts[group]]
    return out


def _as_array(column: pa.ChunkedArray, shape: Sequence[int]) -> NDArray[Any]:
    flat = column.combine_chunks()
    for _ in shape:
        flat = flat.flatten()
    values: NDArray[Any] = flat.to_numpy().reshape(-1, *shape)
    return values
