"""What tells whether a video is still the same file: its path, size and time of change."""

from __future__ import annotations

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from bodvcl.data.files.video import VideoInfo
from bodvcl.data.tars.held import is_url

_ASKING = 32  # threads: a network file system answers slowly


class Stamp(NamedTuple):
    """A version of a video.

    Attributes:
        path: absolute, or a URL. A video in a tar file has the path of that file and its name inside.
        size: bytes of the video; -1: unknown.
        modified: when its file (or tar file) changed, in nanoseconds since 1970; -1: unknown, as at a URL.
    """

    path: str
    size: int
    modified: int


def stamp(video: VideoInfo) -> Stamp:
    """The version of a video that is there now."""
    size = -1 if video.held is None else video.held.size
    file = video.path if video.held is None else video.held.whole
    if is_url(file):
        return Stamp(video.path, size, -1)
    path = os.path.abspath(video.path)
    try:
        status = os.stat(file)
    except OSError:
        return Stamp(path, size, -1)
    return Stamp(path, status.st_size if video.held is None else size, status.st_mtime_ns)


def stamps(videos: Iterable[VideoInfo]) -> list[Stamp]:
    """The versions of many videos, in order."""
    with ThreadPoolExecutor(_ASKING) as pool:
        return list(pool.map(stamp, videos))
