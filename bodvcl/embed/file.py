"""The file of embeddings: one row for every video, or for every window of a long one.

A Parquet file with the columns

==============  =============================  ===========================================================
``path``        string                         the video, absolute, or its name inside a data set
``video``       int64                          number of the video; the windows of a video share it
``start``       float64                        seconds from the first frame of the video to that of the row
``end``         float64                        seconds to the end of the row's last frame
``bytes``       int64, may be null             size of the file when it was read
``modified``    int64, may be null             its time of change, in nanoseconds since 1970
label columns   string, may be null            labels of the video, by the names that :class:`About` lists
vectors         fixed-size list of float32     one column for every kind of vector, see :data:`KINDS`
==============  =============================  ===========================================================

and, under the key ``bodvcl`` of its metadata, the facts of :class:`About` as JSON.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from bodvcl.errors import DataError
from bodvcl.runs.folder import write_atomically

POOLED, STATIC, DYNAMIC = "pooled", "static", "dynamic"
KINDS = (POOLED, STATIC, DYNAMIC)
"""``pooled (2 D)``: means, then standard deviations over time of the backbone's features. ``static (M)``,
``dynamic (M)``: the two streams of the projector's embeddings (Eq. 21 of the paper)."""

FIXED = ("path", "video", "start", "end", "bytes", "modified")
"""Names of the columns that every file has."""

_KEY = b"bodvcl"


@dataclass(frozen=True)
class About:
    """Where the vectors come from.

    Attributes:
        version: version of bodvcl that made them.
        checkpoint: absolute path of the run or file of the encoder.
        weights: SHA-256 of the encoder's weights, in hexadecimal.
        step: training steps of the encoder.
        data: the data, as they were named.
        decouple: "none", "pred" or "bod", as the encoder was trained.
        window: seconds of every row; None: a row is a whole video.
        clips: clips whose vectors are averaged in a row.
        clip: options of the clips.
        labels: names of the label columns, in order.
        widths: kind of vector to the number of its entries.
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
        vectors: kind to float32 ``(rows, width)``.
        about: where they come from.
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

    def __len__(self) -> int:
        return len(self.paths)


def to_table(embeddings: Embeddings) -> pa.Table:
    """The rows as a table of Arrow."""

    def known(values: NDArray[np.int64]) -> pa.Array:
        return pa.array(values, mask=values < 0)

    columns: dict[str, Any] = {
        "path": pa.array(embeddings.paths, pa.string()),
        "video": pa.array(embeddings.video),
        "start": pa.array(embeddings.start),
        "end": pa.array(embeddings.end),
        "bytes": known(embeddings.size),
        "modified": known(embeddings.modified),
    }
    columns |= {name: pa.array(values, pa.string()) for name, values in embeddings.labels.items()}
    for kind, vectors in embeddings.vectors.items():
        flat = pa.array(np.ascontiguousarray(vectors, np.float32).reshape(-1))
        columns[kind] = pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])
    return pa.table(columns).replace_schema_metadata({_KEY: json.dumps(asdict(embeddings.about))})


def write_embeddings(path: Path, embeddings: Embeddings) -> None:
    """Write a Parquet file; an earlier file stays until the new one is whole.

    Raises:
        OSError: as the file system reports it.
    """
    sink = pa.BufferOutputStream()
    pq.write_table(to_table(embeddings), sink)
    write_atomically(path, sink.getvalue().to_pybytes())


def read_about(path: Path) -> About:
    """Where the vectors of a file come from; reads no vector.

    Raises:
        DataError: no such file, or not a file of embeddings.
    """
    try:
        metadata = pq.read_schema(path).metadata or {}
        return About(**json.loads(metadata[_KEY]))
    except OSError as error:
        raise DataError(
            f"{path}: {error.strerror or 'cannot be read'}; expected a file of bodvcl embed"
        ) from error
    except (pa.ArrowInvalid, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path} is not a file of bodvcl embed: write one with bodvcl embed --out") from error


def read_embeddings(path: Path, kinds: Sequence[str] = KINDS) -> Embeddings:
    """Rows of a file of ``bodvcl embed``.

    Args:
        path: the file.
        kinds: vectors to read; the others are left on the disk.

    Raises:
        DataError: no such file, not a file of embeddings, or one without these vectors.
    """
    about = read_about(path)
    if missing := [kind for kind in kinds if kind not in about.widths]:
        raise DataError(f"{path} has no {missing[0]} vectors; it has {', '.join(about.widths)}")
    table = pq.read_table(path, columns=[*FIXED, *about.labels, *kinds])

    def vectors(kind: str) -> NDArray[np.float32]:
        flat = table[kind].combine_chunks().flatten().to_numpy(zero_copy_only=False)
        rows: NDArray[np.float32] = flat.reshape(len(table), about.widths[kind])
        return rows

    return Embeddings(
        paths=table["path"].to_pylist(),
        video=table["video"].to_numpy(),
        start=table["start"].to_numpy(),
        end=table["end"].to_numpy(),
        size=table["bytes"].fill_null(-1).to_numpy(),
        modified=table["modified"].fill_null(-1).to_numpy(),
        labels={name: table[name].to_pylist() for name in about.labels},
        vectors={kind: vectors(kind) for kind in kinds},
        about=about,
    )
