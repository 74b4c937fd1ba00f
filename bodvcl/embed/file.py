"""The file of embeddings: one row for every video, or for every window of a long one.

A Parquet file with the columns

==============  =============================  ===========================================================
``path``        string                         the video, absolute, or its name inside a data set
``video``       int64                          number of the video; the windows of a video share it
``start``       float64                        seconds from the first frame of the file to that of the row
``end``         float64                        seconds to the end of the row's last frame
``bytes``       int64, may be null             size of the file when it was read
``modified``    int64, may be null             its time of change, in nanoseconds since 1970
label columns   string, may be null            labels of the video, by the names that :class:`About` lists
vectors         fixed-size list of float32     one column for every kind of vector, see :data:`KINDS`
``frames``      list (T) of lists (D), float32  features of every frame, if they were asked for
``times``       fixed-size list of float64     with ``frames``: seconds from the first frame of the file
==============  =============================  ===========================================================

and, under the key ``bodvcl`` of its metadata, the facts of :class:`About` as JSON. Or a safetensors file with
the vectors, ``frames`` and ``times`` as tensors, and the other columns beside it in a Parquet file
(:func:`bodvcl.embed.tensors.index_of`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from bodvcl.embed import tensors
from bodvcl.embed.columns import Column, as_lists, read_columns, read_rows
from bodvcl.errors import ConfigError, DataError
from bodvcl.runs.folder import replaced_atomically

POOLED, STATIC, DYNAMIC, STILL = "pooled", "static", "dynamic", "still"
KINDS = (POOLED, STATIC, DYNAMIC, STILL)
"""``pooled (2 D)``: means, then standard deviations over time of the backbone's features. ``static (M)``,
``dynamic (M)``: the two streams of the projector's embeddings (Eq. 21 of the paper). ``still (D)``: means of
the backbone's features of clips whose middle frame is held: what is to be seen without any motion."""

FRAMES, TIMES = "frames", "times"
"""``frames (T, D)``: the backbone's features of the frames of a row's clips, clip by clip; ``times (T)``."""

FIXED = ("path", "video", "start", "end", "bytes", "modified")
"""Names of the columns that every file has."""

SUFFIXES = (".parquet", ".safetensors")
"""Endings of the names of such files."""

RESERVED = frozenset({*FIXED, *KINDS, FRAMES, TIMES})
"""Names that a label column cannot have."""

_KEY = b"bodvcl"
_GROUP = 2**25
"""Approximate number of bytes in a row group."""


@dataclass(frozen=True)
class About:
    """Where the vectors come from.

    Attributes:
        version: version of bodvcl that made them.
        checkpoint: absolute path of the run or file of the encoder.
        weights: SHA-256 of the encoder's weights, in hexadecimal.
        step: training steps of the encoder.
        data: the data: an absolute path, or a name.
        decouple: "none", "pred" or "bod", as the encoder was trained.
        window: seconds of every row; None: a row is a whole video.
        clips: clips whose vectors are averaged in a row.
        clip: options of the clips.
        labels: names of the label columns, in order.
        widths: kind of vector to the number of its entries.
        every: seconds from the start of a window to that of the next; None: rows are whole videos.
        frames: T and D of the features of frames; empty: the file has none.
        koopman: options of the estimation and split of the streams.
        normalisation: mean and standard deviation by which pixels were normalised.
        precision: arithmetic of the encoder: "fp32", "tf32", "bf16" or "fp16".
    """

    version: str
    checkpoint: str
    weights: str
    step: int
    data: str
    decouple: str
    window: float | None
    clips: int
    clip: dict[str, Any]
    labels: list[str] = field(default_factory=list)
    widths: dict[str, int] = field(default_factory=dict)
    every: float | None = None
    frames: list[int] = field(default_factory=list)
    koopman: dict[str, Any] = field(default_factory=dict)
    normalisation: list[float] = field(default_factory=list)
    precision: str = "fp32"

    def columns(self) -> dict[str, Column]:
        """The vectors of a row by kind, and "frames" and "times" where the file has them."""
        columns = {kind: Column((width,), np.float32) for kind, width in self.widths.items()}
        if self.frames:
            length, width = self.frames
            columns |= {FRAMES: Column((length, width), np.float32), TIMES: Column((length,), np.float64)}
        return columns


@dataclass(frozen=True)
class Embeddings:
    """Rows of a file of embeddings.

    Attributes:
        paths: path of every row.
        video: int64 ``(rows,)``, number of the video.
        start, end: float64 ``(rows,)``, seconds.
        size: int64 ``(rows,)``, bytes of the file; -1: unknown.
        modified: int64 ``(rows,)``, nanoseconds since 1970; -1: unknown.
        labels: name to one value for every row, None where there is none.
        vectors: kind to float32 ``(rows, width)``; "frames" to ``(rows, T, D)``.
        about: where they come from.
        times: float64 ``(rows, T)``, seconds from the first frame of the video; None without "frames".
    """

    paths: Sequence[str]
    video: NDArray[np.int64]
    start: NDArray[np.float64]
    end: NDArray[np.float64]
    size: NDArray[np.int64]
    modified: NDArray[np.int64]
    labels: Mapping[str, Sequence[str | None]]
    vectors: Mapping[str, NDArray[np.float32]]
    about: About
    times: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.paths)


def write_embeddings(path: Path, embeddings: Embeddings) -> None:
    """Write a file of embeddings; an earlier one stays until the new one is whole.

    Args:
        path: its name ends in .parquet or .safetensors.
        embeddings: the rows.

    Raises:
        ConfigError: another ending.
        OSError: as the file system reports it.
    """
    write_rows(path, embeddings.about, len(embeddings), [embeddings])


def write_rows(path: Path, about: About, rows: int, parts: Iterable[Embeddings]) -> None:
    """Write a file of embeddings part by part; an earlier one stays until the new one is whole.

    Args:
        path: its name ends in .parquet or .safetensors.
        about: where the vectors come from.
        rows: number of rows of all parts.
        parts: the rows, in order; each part is written before the next is asked for.

    Raises:
        ConfigError: another ending.
        OSError: as the file system reports it.
    """
    check_suffix(path)
    if path.suffix == ".safetensors":
        _write_tensors(path, about, rows, parts)
        return
    with replaced_atomically(path) as temporary, _table_file(temporary, _schema(about)) as file:
        for part in parts:
            file.write_table(to_table(part))


def check_suffix(path: Path) -> None:
    """Raise :class:`~bodvcl.errors.ConfigError` for a name of another kind of file."""
    if path.suffix not in SUFFIXES:
        raise ConfigError(f"{path}: expected a name that ends in {' or '.join(SUFFIXES)}")


def to_table(embeddings: Embeddings, *, index: bool = False) -> pa.Table:
    """The rows as a table of Arrow.

    Args:
        embeddings: the rows.
        index: without vectors.
    """

    def known(values: NDArray[np.int64]) -> pa.Array:
        return pa.array(values, pa.int64(), mask=values < 0)

    columns: dict[str, Any] = {
        "path": pa.array(embeddings.paths, pa.string()),
        "video": pa.array(embeddings.video),
        "start": pa.array(embeddings.start),
        "end": pa.array(embeddings.end),
        "bytes": known(embeddings.size),
        "modified": known(embeddings.modified),
    }
    columns |= {name: pa.array(values, pa.string()) for name, values in embeddings.labels.items()}
    if not index:
        columns |= {kind: as_lists(values) for kind, values in embeddings.vectors.items()}
        columns |= {} if embeddings.times is None else {TIMES: as_lists(embeddings.times)}
    schema = _schema(embeddings.about, index=index)
    return pa.Table.from_arrays([columns[name] for name in schema.names], schema=schema)


def read_about(path: Path) -> About:
    """Where the vectors of a file come from; reads no vector.

    Raises:
        DataError: no such file, or not a file of embeddings.
    """
    if not path.exists():
        raise DataError(f"{path}: no such file; expected a file of bodvcl embed")
    try:
        if path.suffix == ".safetensors":
            return About(**json.loads(tensors.metadata(path)[_KEY.decode()]))
        metadata = pq.read_schema(path).metadata or {}
        return About(**json.loads(metadata[_KEY]))
    except OSError as error:
        raise DataError(
            f"{path}: {error.strerror or 'cannot be read'}; expected a file of bodvcl embed"
        ) from error
    except (pa.ArrowInvalid, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path} is not a file of bodvcl embed: write one with bodvcl embed --out") from error


def read_embeddings(path: Path | str, kinds: Sequence[str] | None = None) -> Embeddings:
    """Rows of a file of ``bodvcl embed``.

    Args:
        path: the file, .parquet or .safetensors.
        kinds: vectors to read, of :data:`KINDS` and "frames"; the others are left on the disk. None: all but
            "frames".

    Raises:
        DataError: no such file, not a file of embeddings, or one without these vectors.
    """
    path = Path(path)
    about = read_about(path)
    columns = about.columns()
    kinds = list(about.widths) if kinds is None else kinds
    if missing := [kind for kind in kinds if kind not in columns]:
        raise DataError(f"{path} has no {missing[0]} vectors; it has {', '.join(columns)}")
    wanted = {name: columns[name] for name in (*kinds, *([TIMES] if FRAMES in kinds else []))}
    if path.suffix == ".safetensors":
        table = pq.read_table(tensors.checked_index(path), columns=[*FIXED, *about.labels])
        vectors = tensors.read(path, wanted)
    else:
        table = pq.read_table(path, columns=[*FIXED, *about.labels])
        vectors = read_columns(path, len(table), wanted)
    times = vectors.pop(TIMES, None)
    return Embeddings(
        paths=table["path"].to_pylist(),
        video=table["video"].to_numpy(),
        start=table["start"].to_numpy(),
        end=table["end"].to_numpy(),
        size=table["bytes"].fill_null(-1).to_numpy(),
        modified=table["modified"].fill_null(-1).to_numpy(),
        labels={name: table[name].to_pylist() for name in about.labels},
        vectors=vectors,
        about=about,
        times=times,
    )


def read_some(path: Path, about: About, rows: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    """Everything but the index of some rows: kind to ``(rows, ...)``, with "times" where there are "frames".

    Args:
        path: the file.
        about: what it says about itself.
        rows: numbers of rows, in any order; in memory are these and one row group.
    """
    columns = about.columns()
    if path.suffix == ".safetensors":
        return tensors.read_rows(path, list(columns), rows)
    return read_rows(path, columns, rows)


def rows_in_memory(about: About) -> int:
    """Number of rows to write at once, so that they fill about 32 MiB."""
    size = sum(column.empty(1).nbytes for column in about.columns().values())
    return max(1, min(2**16, _GROUP // max(size, 1)))


def _write_tensors(path: Path, about: About, rows: int, parts: Iterable[Embeddings]) -> None:
    metadata = {_KEY.decode(): json.dumps(asdict(about))}
    with (
        replaced_atomically(path) as temporary,
        replaced_atomically(tensors.index_of(path)) as index,
        tensors.TensorFile(temporary, rows, about.columns(), metadata) as file,
    ):
        with _table_file(index, _schema(about, index=True)) as table:
            for part in parts:
                table.write_table(to_table(part, index=True))
                file.append(dict(part.vectors) | ({} if part.times is None else {TIMES: part.times}))
        file.seal(index)


def _table_file(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    words = [field.name for field in schema if field.type == pa.string()]
    return pq.ParquetWriter(path, schema, use_dictionary=words, write_statistics=list(FIXED))


def _schema(about: About, *, index: bool = False) -> pa.Schema:
    kinds = {"path": pa.string(), "video": pa.int64(), "start": pa.float64(), "end": pa.float64()}
    columns = kinds | {name: pa.int64() for name in ("bytes", "modified")}
    columns |= {name: pa.string() for name in about.labels}
    fields = [pa.field(name, kind) for name, kind in columns.items()]
    if not index:
        fields += [pa.field(name, c.field_type, nullable=False) for name, c in about.columns().items()]
    return pa.schema(fields, metadata={_KEY: json.dumps(asdict(about))})
