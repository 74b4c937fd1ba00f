"""Check video files in parallel, except those that the index knows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from bodvcl.data.files.index import Stamp, VideoIndex, stamp
from bodvcl.data.files.probing import probe_video
from bodvcl.data.files.video import BadVideo, VideoInfo
from bodvcl.data.workers.each import Lost, each
from bodvcl.data.workers.process import available_cores
from bodvcl.text.progress import progress_bar

Checked = VideoInfo | BadVideo

_TIMEOUT = 600.0  # seconds for one file; without usable timestamps all of it is decoded
_STORED_AT_ONCE = 256  # files between two writes to the index
_ASKING = 32  # threads that read sizes and times: a network file system answers slowly


def probe(path: str) -> Checked:
    """What a file contains, or why it cannot be used."""
    try:
        return probe_video(path)
    except BadVideo as error:
        return error


def check_files(
    paths: Sequence[str], index: VideoIndex, *, workers: int | None = None, progress: bool = True
) -> tuple[dict[str, Checked], int]:
    """What each file contains, from the index where the index knows it.

    Args:
        paths: the files; a path that occurs twice is checked once.
        index: is read first; new results are added to it.
        workers: number of processes. 0: check in this process. None: one per core.
        progress: show a progress bar.

    Returns:
        results by path, and the number of files that had to be opened.
    """
    unique = list(dict.fromkeys(paths))
    with ThreadPoolExecutor(_ASKING) as pool:
        asked = pool.map(stamp, unique)
        stamps: dict[str, Stamp] = {path: at for path, at in zip(unique, asked) if at is not None}
    results = index.lookup(stamps)
    unknown = [path for path in unique if path not in results]
    learnt: list[tuple[Stamp, Checked]] = []
    count = available_cores() if workers is None else workers
    bar = progress_bar(
        _probed(unknown, count),
        desc="checking videos", total=len(unknown), unit="file", disable=not (progress and unknown),
    )  # fmt: skip
    try:
        for path, result, final in bar:
            results[path] = result
            if final and path in stamps:
                learnt.append((stamps[path], result))
            if len(learnt) >= _STORED_AT_ONCE:
                index.store(learnt)
                learnt = []
    finally:
        index.store(learnt)
    return results, len(unknown)


def _probed(paths: Sequence[str], workers: int) -> Iterator[tuple[str, Checked, bool]]:
    """(path, result, whether the result is final), in the order of the paths."""
    for result, path in zip(each(_Probe(paths), len(paths), workers=workers, timeout=_TIMEOUT), paths):
        if isinstance(result, Lost):
            yield path, BadVideo(path, result.reason), result.lasting
        else:
            yield path, result, True


@dataclass(frozen=True)
class _Probe:
    paths: Sequence[str]

    def __call__(self, number: int) -> Checked:
        return probe(self.paths[number])
