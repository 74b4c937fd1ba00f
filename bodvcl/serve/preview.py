"""Small copies of a part of a video that every browser plays, whatever the format of the file."""

from __future__ import annotations

import io
from collections.abc import Callable
from fractions import Fraction
from typing import NamedTuple

import av
import numpy as np
from numpy.typing import NDArray

from bodvcl.data.files.check import check_files
from bodvcl.data.files.copies import copy_size
from bodvcl.data.files.h264 import add_h264
from bodvcl.data.files.index import VideoIndex
from bodvcl.data.files.reading import read_frames, stream_frames
from bodvcl.data.files.video import BadVideo, VideoInfo

_UNIT = Fraction(1, 90_000)  # seconds per unit of the timestamps of a preview
_UNTIMED_FPS = 25.0  # rate at which a file is shown that does not say when its frames are shown
_ROUNDING = 1e-6


class Look(NamedTuple):
    """How large a preview is.

    Attributes:
        short_side: most pixels of the shorter side.
        fps: most frames per second.
        seconds: longest part of a video that is shown.
        crf: quality of x264, 0 (lossless) to 51.
    """

    short_side: int
    fps: float
    seconds: float
    crf: int


TILE = Look(short_side=144, fps=15, seconds=8, crf=27)
"""A picture among many."""
LARGE = Look(short_side=360, fps=30, seconds=20, crf=24)
"""The one video that is looked at."""


def shown_part(start: float, end: float, longest: float) -> tuple[float, float]:
    """The seconds that a preview shows: all of ``start .. end``, or the middle of it if that is too long."""
    spare = max(end - start - longest, 0) / 2
    return start + spare, end - spare


def preview_frames(times: NDArray[np.float64], start: float, end: float, fps: float) -> NDArray[np.int64]:
    """Numbers of the frames of a preview, increasing: those that are shown at most every ``1 / fps`` seconds.

    Args:
        times: ``(frames,)``, seconds since the first frame, increasing.
        start, end: seconds. If no frame begins between them, the one shown at ``start`` is taken.
        fps: most frames per second.
    """
    first, last = np.searchsorted(times, [start - _ROUNDING, end - _ROUNDING]).tolist()
    if last <= first:
        return np.array([min(max(first - 1, 0), len(times) - 1)])
    ticks = np.floor((times[first:last] - times[first]) * fps + _ROUNDING)
    numbers: NDArray[np.int64] = first + np.flatnonzero(np.diff(ticks, prepend=-1) > 0)
    return numbers


def video_info(path: str) -> VideoInfo:
    """What a file contains, from the index of the user where that knows it.

    Raises:
        BadVideo: it cannot be used.
    """
    with VideoIndex() as index:
        found = check_files([path], index, workers=0, progress=False)[0][path]
    if isinstance(found, BadVideo):
        raise found
    return found


def chosen_frames(
    path: str, start: float, end: float, look: Look
) -> tuple[VideoInfo, NDArray[np.float64], NDArray[np.int64]]:
    """The file, seconds of its frames since the first ``(frames,)``, and the numbers of those in a preview.

    A file that does not say when its frames are shown is shown whole, at 25 frames per second.

    Raises:
        BadVideo: it cannot be used.
    """
    info = video_info(path)
    times = info.times()
    if not info.time_base:
        times = np.arange(info.frames) / _UNTIMED_FPS
        start, end = 0.0, info.frames / _UNTIMED_FPS
    return info, times, preview_frames(times, *shown_part(start, end, look.seconds), look.fps)


def still(path: str, start: float, end: float, look: Look = TILE) -> bytes:
    """The frame in the middle of a part of a video, as JPEG.

    Raises:
        BadVideo: it cannot be read.
    """
    info, _, numbers = chosen_frames(path, start, end, look)
    width, height = copy_size(info.width, info.height, look.short_side)
    (image,) = read_frames(info, numbers[len(numbers) // 2 : len(numbers) // 2 + 1], (height, width))
    coder = av.CodecContext.create("mjpeg", "w")
    coder.width, coder.height, coder.pix_fmt = width, height, "yuvj420p"
    coder.time_base = _UNIT
    coder.options = {"q": "4"}
    frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="yuvj420p")
    return b"".join(bytes(packet) for packet in [*coder.encode(frame), *coder.encode(None)])


def moving(
    path: str, start: float, end: float, look: Look = TILE, *, going: Callable[[], bool] = lambda: True
) -> bytes:
    """A part of a video as a small H.264 file, turned and stretched as it is displayed, without sound.

    Args:
        path: the video.
        start, end: seconds from its first frame.
        look: size and length of the preview.
        going: asked before every frame; False: give up.

    Raises:
        BadVideo: it cannot be read, or is no longer wanted.
    """
    info, times, numbers = chosen_frames(path, start, end, look)
    width, height = copy_size(info.width, info.height, look.short_side)
    rate = Fraction(min(look.fps, info.fps or _UNTIMED_FPS)).limit_denominator(1001)
    stamps = np.round((times[numbers] - times[numbers[0]]) / float(_UNIT)).astype(np.int64)
    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as container:
        stream = add_h264(container, (width, height), rate=rate, unit=_UNIT, options={"crf": str(look.crf)})
        for stamp, image in zip(stamps.tolist(), stream_frames(info, numbers.tolist(), (height, width))):
            if not going():
                raise BadVideo(path, "its preview was given up")
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = stamp, _UNIT
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return out.getvalue()
