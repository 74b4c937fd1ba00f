"""Which parts of which videos the rows of a file are: whole videos, or windows of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bodvcl.config.schema import ClipConfig
from bodvcl.data.files.clip_fit import ROUNDING, fits, required_frames
from bodvcl.data.files.video import VideoInfo
from bodvcl.errors import ConfigError


@dataclass(frozen=True)
class Rows:
    """Parts of videos; the parts of a video are neighbours, in the order of time.

    Attributes:
        video: int64 ``(rows,)``: number of the video.
        first, stop: int64 ``(rows,)``; a part has the frames first .. stop - 1.
        start: float64 ``(rows,)``: seconds from the first frame of the file to that of the part.
        end: float64 ``(rows,)``: seconds to the end of the part's last frame.
    """

    video: NDArray[np.int64]
    first: NDArray[np.int64]
    stop: NDArray[np.int64]
    start: NDArray[np.float64]
    end: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.video)

    def taken(self, places: NDArray[np.int64]) -> Rows:
        """The rows at these places."""
        return Rows(*(values[places] for values in vars(self).values()))


def plan_rows(
    videos: Sequence[VideoInfo], clip: ClipConfig, window: float | None, step: float | None
) -> tuple[Rows, list[tuple[str, str]]]:
    """The rows of a data set, and (path, reason) of the videos that have none.

    Args:
        videos: videos that hold a clip.
        clip: length, stride and frame rate of a clip.
        window: seconds of a row. None: whole videos.
        step: seconds from the start of a window to that of the next.

    Raises:
        ConfigError: no window of any video holds a clip; the message names the smallest that does.
    """
    if window is None:
        frames = np.array([video.frames for video in videos], np.int64)
        ends = np.array([frame_ends(video)[1] for video in videos])
        numbers = np.arange(len(videos), dtype=np.int64)
        begins = np.array([video.begins for video in videos])
        return Rows(numbers, np.zeros_like(numbers), frames, begins, begins + ends), []
    found, left_out = [], []
    for number, video in enumerate(videos):
        parts = windows(video, clip, window, step or window)
        if parts is None:
            left_out.append((video.path, "neither its timestamps nor its header say when frames are shown"))
        elif not len(parts):
            needed = smallest_window(video, clip)
            left_out.append((video.path, f"a window of {window:g} s holds no clip, which takes {needed:g} s"))
        else:
            times = video.begins + parts.start, video.begins + parts.end
            found.append(Rows(np.full(len(parts), number), parts.first, parts.stop, *times))
    if not found:
        known = [smallest_window(video, clip) for video in videos if video.time_base or video.fps]
        raise ConfigError(
            f"--window {window:g}: a clip of {clip.frames} frames with stride {clip.stride} takes "
            f"{min(known):g} s; give at least --window {min(known):g}, or a smaller --clip.frames or "
            "--clip.stride"
            if known
            else "--window: neither timestamps nor headers say when the frames of these videos are shown; "
            "leave --window out"
        )
    return Rows(*(np.concatenate(parts) for parts in zip(*(vars(rows).values() for rows in found)))), left_out


def windows(info: VideoInfo, clip: ClipConfig, window: float, step: float) -> Rows | None:
    """The windows of a video that hold a clip; the last may be shorter than ``window``.

    Returns:
        Rows of video 0, in seconds from its own first frame. None: the times of its frames are unknown.
    """
    times, end = frame_ends(info)
    if info.frames > 1 and not end:
        return None
    count = 1 + max(0, math.ceil((end - window) / step - ROUNDING))
    starts = np.arange(count) * step
    first = np.searchsorted(times, starts - ROUNDING)
    stop = np.searchsorted(times, starts + window - ROUNDING)
    kept = fits(info, clip, first, stop)
    first, stop = first[kept], stop[kept]
    ends = np.where(stop < info.frames, times[np.minimum(stop, info.frames - 1)], end)
    return Rows(
        np.zeros(len(first), np.int64), first, stop, times[first], np.minimum(ends, times[first] + window)
    )


def window_around(info: VideoInfo, clip: ClipConfig, seconds: float, window: float | None) -> tuple[int, int]:
    """First frame of the window whose middle is nearest to a time, and the frame after its last.

    Args:
        info: the video.
        clip: length, stride and frame rate of a clip.
        seconds: time in the video; the window lies inside the video.
        window: its length in seconds. None: that of a clip.
    """
    times, end = frame_ends(info)
    length = smallest_window(info, clip) if window is None else window
    start = min(max(seconds - length / 2, 0.0), max(end - length, 0.0))
    first = int(np.searchsorted(times, start - ROUNDING))
    stop = int(np.searchsorted(times, start + length - ROUNDING))
    return first, stop


def smallest_window(info: VideoInfo, clip: ClipConfig) -> float:
    """Seconds of the shortest window of a video that holds a clip, rounded up to a hundredth."""
    needed = required_frames(info, clip)
    times, end = frame_ends(info)
    seconds = float(times[needed]) if needed < info.frames else end * needed / info.frames
    return math.ceil(100 * seconds - 1e-6) / 100


def frame_ends(info: VideoInfo) -> tuple[NDArray[np.float64], float]:
    """When the frames of a video begin, in seconds since the first, and when the last one ends.

    Without timestamps the average frame rate is assumed; all is 0 where that is unknown, too.
    """
    frame = 1 / info.fps if info.fps else 0.0
    times: NDArray[Any] = info.times() if info.time_base else np.arange(info.frames) * frame
    return times, float(times[-1]) + frame
