"""Vectors in a safetensors file, written row by row, and the Parquet file beside it with their videos."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open

from bodvcl.embed.columns import Column
from bodvcl.errors import DataError

_TYPES: dict[str, np.dtype[Any]] = {"F32": np.dtype(np.float32), "F64": np.dtype(np.float64)}
_INDEX = "index"
"""Key under which the SHA-256 of the index is in the metadata."""


def index_of(path: Path) -> Path:
    """The file beside a safetensors file that has the other columns: ``NAME.index.parquet``."""
    return path.with_name(f"{path.stem}.index.parquet")


class TensorFile:
    """A safetensors file of a known number of rows that are written one part after the other.

    Args:
        path: the file.
        rows: number of all rows.
        columns: the tensors by name.
        metadata: texts that are kept with it.

    Raises:
        OSError: it cannot be written.
    """

    def __init__(
        self,
        path: Path,
        rows: int,
        columns: Mapping[str, Column],
        metadata: Mapping[str, str],
    ) -> None:
        entries: dict[str, Any] = {"__metadata__": {**metadata, _INDEX: "0" * 64}}
        end = 0
        self._places: dict[str, tuple[int, int]] = {}
        for name, (shape, kind) in columns.items():
            size = int(np.prod(shape)) * np.dtype(kind).itemsize
            entries[name] = {
                "dtype": next(code for code, own in _TYPES.items() if own == kind),
                "shape": [rows, *shape],
                "data_offsets": [end, end + rows * size],
            }
            self._places[name] = end, size
            end += rows * size
        header = json.dumps(entries).encode()
        header += b" " * (-len(header) % 8)
        self._start = 8 + len(header)
        self._row = 0
        self._file = open(path, "w+b")  # noqa: SIM115  # closed in __exit__
        self._file.write(len(header).to_bytes(8, "little") + header)
        self._file.truncate(self._start + end)

    def __enter__(self) -> TensorFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def append(self, values: Mapping[str, NDArray[Any]]) -> None:
        """Write the next rows: of every name an array ``(rows, ...)``."""
        for name, (first, size) in self._places.items():
            self._file.seek(self._start + first + self._row * size)
            self._file.write(np.ascontiguousarray(values[name]).data)
        self._row += len(next(iter(values.values())))

    def seal(self, index: Path) -> None:
        """Keep the hash of the index, once that is written."""
        self._file.seek(0)
        header = self._file.read(self._start)
        self._file.seek(header.index(f'"{_INDEX}": "'.encode()) + len(_INDEX) + 5)
        self._file.write(_hash(index).encode())


def metadata(path: Path) -> dict[str, str]:
    """Texts that are kept with a safetensors file.

    Raises:
        OSError: it cannot be read.
        ValueError: it is another kind of file.
        KeyError: it has none.
    """
    found: dict[str, str] = _header(path)[0]["__metadata__"]
    return found


def _header(path: Path) -> tuple[dict[str, Any], int]:
    """The header of a safetensors file, and the place where its tensors begin."""
    with open(path, "rb") as file:
        size = int.from_bytes(file.read(8), "little")
        if size > path.stat().st_size:
            raise ValueError("not a safetensors file")
        return json.loads(file.read(size)), 8 + size


def checked_index(path: Path) -> Path:
    """The index of a safetensors file.

    Raises:
        DataError: it is not there, or it is that of another file.
    """
    index = index_of(path)
    try:
        same = _hash(index) == metadata(path)[_INDEX]
    except OSError as error:
        raise DataError(
            f"{index}: {error.strerror or error}; it belongs to {path.name}: keep both in one folder"
        ) from error
    if not same:
        raise DataError(
            f"{index} is not the index of {path.name}: write both again with bodvcl embed --restart"
        )
    return index


def read(path: Path, names: Iterable[str]) -> dict[str, NDArray[Any]]:
    """Some tensors of a safetensors file."""
    with safe_open(path, framework="np") as file:
        return {name: file.get_tensor(name) for name in names}


def read_rows(path: Path, names: Iterable[str], rows: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    """Some rows of some tensors of a safetensors file; the others are not read."""
    header, start = _header(path)
    found = {}
    for name in names:
        entry = header[name]
        place = start + entry["data_offsets"][0]
        found[name] = np.memmap(path, _TYPES[entry["dtype"]], "r", place, tuple(entry["shape"]))[rows]
    return found


def _hash(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()
