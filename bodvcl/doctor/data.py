"""Can the videos of a training be read here, and how fast?"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

from bodvcl.data.files.probing import probe_video
from bodvcl.data.files.reading import read_frames
from bodvcl.data.files.video import BadVideo
from bodvcl.data.sets import built_in, open_dataset
from bodvcl.data.tars.held import is_url
from bodvcl.doctor.outcome import Outcome, failed, ok, warning
from bodvcl.text.words import counted, printable

_MOST = 64 * 2**20  # bytes to read
_LONGEST = 2.0  # seconds to read
_SLOW = 20e6  # bytes per second


def check_data(spec: str) -> Outcome:
    """The check ``data``: the data set is found, its first video is decoded, its files are read.

    Args:
        spec: as ``--data`` of a training. An official layout or a list is read whole, its videos are not.
    """
    if built_in(spec) is not None:
        return ok(f"{spec} is built in, and rendered at the first use")
    found = open_dataset(spec, progress=False)
    if found.tars:
        files = [tar.url for tar in found.tars]
        return _speed(f"{counted(len(files), 'tar file')}", files)
    if not found.rows:
        return failed(f"{spec}: no videos", "give the folder or list that bodvcl data scan takes")
    first = found.rows[0].path
    try:
        info = probe_video(first)
        read_frames(info, [0, info.frames - 1])
    except BadVideo as error:
        return failed(
            f"the first video, {printable(first)}: {error.reason}",
            f"bodvcl data scan {spec} checks all of them",
        )
    return _speed(
        f"{counted(len(found.rows), 'video')}, the first one decodes ({counted(info.frames, 'frame')})",
        [row.path for row in found.rows],
    )


def _speed(text: str, paths: Sequence[str]) -> Outcome:
    size, seconds = read_some(paths)
    return judge_reading(text, size, seconds) if size else ok(text)


def judge_reading(text: str, size: int, seconds: float) -> Outcome:
    """Whether the files are read fast enough: bytes and seconds."""
    speed = size / max(seconds, 1e-9)
    text = f"{text}, {size / 1e6:.1f} MB read at {speed / 1e6:.0f} MB/s"
    if size > 2**20 and speed < _SLOW:
        return warning(
            text, "copy the data to a faster file system, or make small copies: bodvcl data transcode"
        )
    return ok(text)


def read_some(paths: Sequence[str]) -> tuple[int, float]:
    """Read the first files, past what the system has kept of them, for 64 MB or two seconds.

    Args:
        paths: of files; addresses, and files that are not there, are passed over.

    Returns:
        bytes and seconds.
    """
    size, began = 0, time.monotonic()
    for path in paths:
        if time.monotonic() - began > _LONGEST:
            break
        if is_url(path) or not Path(path).is_file():
            continue
        with open(path, "rb", buffering=0) as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            while block := file.read(2**20):
                size += len(block)
                if size >= _MOST or time.monotonic() - began > _LONGEST:
                    return size, time.monotonic() - began
    return size, time.monotonic() - began
