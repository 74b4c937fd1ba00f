"""Which of many files are the same: one path written in two ways, links, and byte-by-byte copies."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from bodvcl.data.files.digests import whole_digest
from bodvcl.data.files.video import VideoInfo
from bodvcl.text.progress import progress_bar

_ASKING = 32  # threads: a network file system answers slowly
_AT_ONCE = 128  # files per task of a thread


def first_of_each(videos: Sequence[VideoInfo], *, progress: bool = True) -> dict[str, str]:
    """For each path, the first path in the list whose file has the same bytes.

    Files are compared by device and inode number, or else by their content. Only files of the same size and
    fingerprint, with the same frames at the same times, are opened, and compared whole. A file that cannot be
    read equals no other.

    Args:
        videos: readable videos; a path may occur more than once.
        progress: show a progress bar where whole files are compared.

    Returns:
        path to first equal path; a path that is the first, or has no equal, maps to itself.
    """
    by_path = {video.path: video.whole or video for video in videos}
    paths = list(by_path)
    with ThreadPoolExecutor(_ASKING) as pool:
        files = dict(_files(pool, paths))
        same = _first_of_equal(paths, files.get)
        apart = list(dict.fromkeys(same.values()))

        def facts(path: str) -> Hashable:
            video, file = by_path[path], files[path]
            if file is None:
                return None
            size = video.image_bytes or file[-1]
            return bool(video.images), size, video.fingerprint, video.frames, *_times(video)

        suspects = _sharing(apart, facts)
        bar = progress_bar(
            pool.map(_whole, map(by_path.__getitem__, suspects)), desc="comparing files of one size",
            total=len(suspects), unit="file", disable=not (progress and suspects),
        )  # fmt: skip
        equal = _first_of_equal(apart, dict(zip(suspects, bar)).get)
    return {path: equal[same[path]] for path in paths}


def same_files(paths: Iterable[str]) -> dict[str, str]:
    """For each path, the first path of the same file: the same path written differently, or a link.

    No file is opened. Paths whose status cannot be read are left out.
    """
    unique = list(dict.fromkeys(paths))
    with ThreadPoolExecutor(_ASKING) as pool:
        files = {path: file for path, file in _files(pool, unique) if file is not None}
    return _first_of_equal(files, files.get)


def _first_of_equal(paths: Iterable[str], key: Callable[[str], Hashable]) -> dict[str, str]:
    """Maps each path to the first path with the same key; a path without a key (None) to itself."""
    first: dict[Hashable, str] = {}
    return {path: path if (value := key(path)) is None else first.setdefault(value, path) for path in paths}


def _sharing(paths: Iterable[str], key: Callable[[str], Hashable]) -> list[str]:
    """The paths that share their key with another path."""
    groups: dict[Hashable, list[str]] = defaultdict(list)
    for path in paths:
        groups[key(path)].append(path)
    return [path for value, group in groups.items() if value is not None and len(group) > 1 for path in group]


def _files(
    pool: ThreadPoolExecutor, paths: Sequence[str]
) -> Iterator[tuple[str, tuple[Hashable, ...] | None]]:
    parts = [paths[start : start + _AT_ONCE] for start in range(0, len(paths), _AT_ONCE)]
    for part, files in zip(parts, pool.map(lambda part: list(map(_file, part)), parts)):
        yield from zip(part, files)


def _file(path: str) -> tuple[Hashable, ...] | None:
    """What identifies a file on this machine, its size last; None if its status cannot be read."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    if not status.st_ino:  # some network file systems number no files
        return os.path.realpath(path), status.st_size
    return status.st_dev, status.st_ino, status.st_size


def _times(video: VideoInfo) -> tuple[Hashable, ...]:
    times = None if video.pts is None else video.pts.tobytes()
    return video.duration, times, video.keyframes.tobytes()


def _whole(video: VideoInfo) -> bytes | None:
    """A digest of a file, or of all images of a folder."""
    if not video.images:
        return whole_digest([video.path])
    names = (video.images % video.pts_of(frame) for frame in range(video.frames))
    return whole_digest(os.path.join(video.path, name) for name in names)
