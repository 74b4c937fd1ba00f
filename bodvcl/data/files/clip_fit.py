"""How long a clip is, and whether a video can hold one: by frames, or with `clip.fps` by time."""

from __future__ import annotations

import math

import numpy as np

from bodvcl.config.schema import ClipConfig
from bodvcl.data.files.video import VideoInfo
from bodvcl.text.words import counted

ROUNDING = 1e-6
"""Seconds by which two times may differ and still count as equal."""

_LONG = 4  # a frame may be shown for this many usual steps, however short the clip
_STILL = 0.5  # a clip shorter than this many frames of the video is mostly one still frame


def clip_offsets(clip: ClipConfig) -> np.ndarray:
    """float64 (L,): distance of each frame of a clip from its first frame, in frames of the sampled rate."""
    if clip.spacing == "linspace":
        return np.linspace(0, clip.frames * clip.stride - 1, clip.frames)
    return np.arange(clip.frames, dtype=np.float64) * clip.stride


def clip_times(info: VideoInfo, seconds: float) -> np.ndarray:
    """When a clip shows each frame of a video: float64 (frames,), in seconds since the first frame.

    Gaps between timestamps are left out. No frame is shown for more than half of the clip, unless frames are
    usually that far apart.

    Args:
        info: the video.
        seconds: length of the clip.
    """
    times = info.playing_times()
    if info.pts is None:
        return times
    steps = np.diff(times)
    longest = max(seconds / 2, _LONG * float(np.median(steps)))
    return times if steps.max() <= longest else np.append(0.0, np.cumsum(np.minimum(steps, longest)))


def required_frames(info: VideoInfo, clip: ClipConfig) -> int:
    """Number of frames that a video needs for one clip; with `clip.fps`, by the times of its frames.

    A video that is too short in time is assumed to continue at its average frame rate.
    """
    last = float(clip_offsets(clip)[-1])
    if clip.fps is None:
        return math.floor(last) + 1
    seconds = last / clip.fps
    times = clip_times(info, seconds)
    there = int(np.searchsorted(times, seconds + ROUNDING, side="right"))
    missing = max(seconds + ROUNDING - times[-1], 0.0)
    return there + (math.floor(missing * info.fps) if info.fps else int(missing > ROUNDING))


def fits(info: VideoInfo, clip: ClipConfig, first: np.ndarray, stop: np.ndarray) -> np.ndarray:
    """Whether parts of a video hold a clip of their own frames, as :func:`required_frames` counts them.

    With ``clip.short`` "repeat" every part does that has a frame.

    Args:
        info: the video.
        clip: length, stride and frame rate.
        first, stop: int64 ``(parts,)``; a part has the frames first .. stop - 1.

    Returns:
        bool ``(parts,)``.
    """
    there: np.ndarray = stop > first
    if clip.short == "repeat":
        return there
    last = float(clip_offsets(clip)[-1])
    if clip.fps is None:
        enough: np.ndarray = stop - first > math.floor(last)
        return enough
    seconds = last / clip.fps
    times = clip_times(info, seconds)
    spans = times[np.maximum(stop, 1) - 1] - times[np.minimum(first, info.frames - 1)]
    long: np.ndarray = there & (np.maximum(seconds + ROUNDING - spans, 0.0) * info.fps < 1)
    return long


def why_unfit(info: VideoInfo, clip: ClipConfig) -> str | None:
    """Why no clip can be cut from a video, and what to do about it; None if one can."""
    if clip.fps is not None and not info.fps and info.frames > 1:
        return (
            "neither its timestamps nor its header say when its frames are shown, which --clip.fps "
            f"{clip.fps:g} needs; remove --clip.fps, or re-encode the file with its true frame rate"
        )
    seconds = 0.0 if clip.fps is None else float(clip_offsets(clip)[-1]) / clip.fps
    if info.frames > 1 and 0 < seconds * info.fps < _STILL:
        return (
            f"it has a frame every {1 / info.fps:.3g} s, so a clip of {seconds:.3g} s would be mostly one "
            "still frame; lower --clip.fps, or raise --clip.frames or --clip.stride"
        )
    needed = required_frames(info, clip)
    if info.frames >= needed or clip.short == "repeat":
        return None
    rate = "" if clip.fps is None else f" at {clip.fps:g} fps"
    return (
        f"{counted(info.frames, 'frame')}, a clip of {clip.frames} frames with stride {clip.stride}"
        f"{rate} needs {needed} (--clip.short repeat keeps it)"
    )
