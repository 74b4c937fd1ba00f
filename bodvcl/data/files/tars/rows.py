"""Videos as rows of an Arrow table: the columns, and how a video becomes a row and a row a video."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from bodvcl.data.files.video import VideoInfo
from bodvcl.data.tars.held import Held

_PLAIN: dict[str, pa.DataType] = {
    "frames": pa.int32(),
    "fps": pa.float64(),
    "width": pa.int32(),
    "height": pa.int32(),
    "rotation": pa.int16(),
    "codec": pa.string(),
    "duration": pa.float64(),
    "sequential": pa.bool_(),
    "time_base": pa.float64(),
    "first_pts": pa.int64(),
    "pts_step": pa.int64(),
    "pixel_format": pa.string(),
    "colour_space": pa.int16(),
    "hidden": pa.int32(),
    "streams": pa.int32(),
    "mirrored": pa.bool_(),
    "jumps": pa.int32(),
    "stored_width": pa.int32(),
    "split": pa.string(),
    "content": pa.string(),
}
_ARRAYS: dict[str, tuple[pa.DataType, type[np.generic]]] = {
    "pts": (pa.list_(pa.int64()), np.int64),
    "keyframes": (pa.list_(pa.int32()), np.int32),
    "gaps": (pa.list_(pa.int32()), np.int32),
}
SCHEMA = pa.schema(
    [
        ("tar", pa.int32()),  # number of the tar file in the list of all
        ("name", pa.string()),  # path in the tar file
        ("start", pa.int64()),
        ("size", pa.int64()),
        ("digest", pa.binary(16)),
        *_PLAIN.items(),
        *((name, kind) for name, (kind, _) in _ARRAYS.items()),
        ("labels", pa.map_(pa.string(), pa.string())),
    ]
)
"""One row per video. The fields of :class:`~bodvcl.data.files.video.VideoInfo` have their names."""


def row_of(info: VideoInfo, tar: int, name: str, digest: bytes) -> dict[str, Any]:
    """The row of a video in a tar file.

    Args:
        info: the video; :attr:`VideoInfo.held` says where it is.
        tar: number of the tar file.
        name: path in the tar file.
        digest: 16 bytes that are equal for equal content.
    """
    assert info.held is not None
    arrays = {name: getattr(info, name) for name in _ARRAYS}
    return {
        **{"tar": tar, "name": name, "start": info.held.start, "size": info.held.size, "digest": digest},
        **{name: getattr(info, name) for name in _PLAIN},
        **{name: None if value is None else value.tolist() for name, value in arrays.items()},
        "labels": list(info.labels.items()),
    }


def table_of(rows: Iterable[Mapping[str, Any]]) -> pa.Table:
    """The table with these rows."""
    return pa.Table.from_pylist(list(rows), SCHEMA)


def video_of(row: Mapping[str, Any], urls: Sequence[str]) -> VideoInfo:
    """The video of a row.

    Args:
        row: one row as Python values.
        urls: path or URL of each tar file.
    """
    url = urls[row["tar"]]
    arrays: dict[str, Any] = {
        name: None if row[name] is None else np.array(row[name], kind) for name, (_, kind) in _ARRAYS.items()
    }
    return VideoInfo(
        path=f"{url}/{row['name']}",
        **{name: row[name] for name in _PLAIN},
        **arrays,
        labels=dict(row["labels"]),
        held=Held(url, row["start"], row["size"]),
    )
