"""The times of a video's frames: from timestamps, also where these repeat or jump; from the header last."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

_MOST_FPS = 500.0
"""A header that says more is not believed without timestamps: 1000 and 90000 are units of time, not rates."""
_LEAST_FPS = 1e-3
_AGREE = 0.02  # a header is exact where timestamps are rounded, so it is taken when they agree this well
_GAP_SECONDS, _GAP_STEPS = 0.5, 10  # a gap is longer than this, and than so many steps around it
_AROUND = 8  # steps on either side
_FINE = 90_000  # units per second of a timeline that had to be mended


@dataclass(frozen=True)
class Timeline:
    """Times of frames in the order in which they are shown.

    Attributes:
        stamps: int64 (frames,), strictly increasing, in units of `unit`.
        unit: seconds; 0: the times are not known, and `stamps` only count.
        fps: average rate without the gaps, 0 if not known.
        gaps: int32, numbers of the frames that come after a gap.
        jumps: frames whose timestamp was not that of a steady recording: repeated, earlier than the one
            before, or behind a gap.
    """

    stamps: np.ndarray
    unit: float
    fps: float
    gaps: np.ndarray
    jumps: int


def plausible_rate(fps: float) -> float:
    """What a header says is a rate, or 0 where it cannot be one (0, 1000, 90000, inf, nan)."""
    return fps if math.isfinite(fps) and _LEAST_FPS <= fps <= _MOST_FPS else 0.0


def timeline(stamps: np.ndarray, unit: float, header: float) -> Timeline:
    """The times of frames that have timestamps.

    Gaps stay in `stamps`. Where timestamps go back, what follows is moved behind what was before; frames with
    one timestamp are spread to the next.

    Args:
        stamps: int64 (frames,), in the order in which the frames are shown.
        unit: seconds per unit.
        header: frames per second that the file says; taken where the timestamps agree with it.

    Returns:
        Times, or what :func:`counted_timeline` gives where no two timestamps differ.
    """
    steps = np.diff(stamps)
    back = int((steps <= 0).sum())
    if back or not unit > 0:
        mended = _mended(steps * unit) if unit > 0 and (steps > 0).any() else None
        if mended is None:
            return replace(counted_timeline(len(stamps), header), jumps=back)
        stamps, unit = mended, 1 / _FINE
    gaps = find_gaps(stamps, unit)
    length = float(playing_times(stamps, unit, gaps)[-1])
    measured = (len(stamps) - 1) / length if length else plausible_rate(header)
    agrees = math.isfinite(header) and measured and abs(header / measured - 1) < _AGREE
    return Timeline(stamps, unit, header if agrees else measured, gaps, back + len(gaps))


def counted_timeline(frames: int, header: float) -> Timeline:
    """The times of frames without timestamps: those of the header's rate, if that can be one."""
    fps = plausible_rate(header)
    nothing = np.zeros(0, np.int32)
    return Timeline(np.arange(frames, dtype=np.int64), 1 / fps if fps else 0.0, fps, nothing, 0)


def find_gaps(stamps: np.ndarray, unit: float) -> np.ndarray:
    """Frames before which nothing was recorded for long: int32 numbers, none of them 0.

    A gap is longer than half a second, and than ten times the steps around it: a slide show has none.

    Args:
        stamps: int64 (frames,), strictly increasing.
        unit: seconds per unit.
    """
    steps = np.diff(stamps).astype(np.float64)
    long = np.flatnonzero(steps * unit > _GAP_SECONDS)
    if not len(long) or len(steps) < 2:
        return np.zeros(0, np.int32)
    padded = np.pad(steps, _AROUND, constant_values=np.nan)
    around = np.lib.stride_tricks.sliding_window_view(padded, 2 * _AROUND + 1)[long].copy()
    around[:, _AROUND] = np.nan
    gaps: np.ndarray = (long[steps[long] > _GAP_STEPS * np.nanmedian(around, axis=1)] + 1).astype(np.int32)
    return gaps


def playing_times(stamps: np.ndarray, unit: float, gaps: np.ndarray) -> np.ndarray:
    """float64 (frames,): seconds since the first frame; every gap lasts as long as a usual step."""
    if len(gaps):
        steps = np.diff(stamps).astype(np.float64)
        steps[gaps - 1] = np.median(np.delete(steps, gaps - 1))
        since = np.concatenate([[0.0], np.cumsum(steps)])
    else:
        since = stamps - stamps[0]
    times: np.ndarray = since * unit
    return times


def _mended(steps: np.ndarray) -> np.ndarray | None:
    """Stamps in 1/90000 s from steps in seconds, some not positive; None where frames are too dense."""
    usual = float(np.median(steps[steps > 0]))
    steps = np.where(steps < 0, usual, steps)
    times = np.concatenate([[0.0], np.cumsum(steps)])
    first = np.flatnonzero(np.concatenate([[True], steps > 0]))  # of every run of equal times
    lengths = np.diff(first, append=len(times))
    widths = np.minimum(np.diff(times[first], append=times[-1] + usual), usual)
    within = np.arange(len(times)) - np.repeat(first, lengths)
    stamps = np.round((times + within * np.repeat(widths / lengths, lengths)) * _FINE).astype(np.int64)
    return stamps if (np.diff(stamps) > 0).all() else None
