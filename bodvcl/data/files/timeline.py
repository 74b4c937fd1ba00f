"""Times of the frames of a video: from timestamps, also if these repeat or jump, or else from the header."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

_MOST_FPS = 500.0
"""A higher rate in a header is ignored without timestamps: 1000 and 90000 are units of time, not rates."""
_LEAST_FPS = 1e-3
_AGREE = 0.02  # a header is exact where timestamps are rounded: it is used if both agree this closely
_GAP_SECONDS, _GAP_STEPS = 0.5, 10  # a gap is longer than this time, and than this many steps around it
_AROUND = 8  # steps on either side
_FINE = 90_000  # units per second of a repaired timeline


@dataclass(frozen=True)
class Timeline:
    """Times of frames in the order in which they are shown.

    Attributes:
        stamps: int64 (frames,), strictly increasing, in units of `unit`.
        unit: unit of `stamps` in seconds; 0: the times are unknown, and `stamps` only count the frames.
        fps: average rate without the gaps; 0 if unknown.
        gaps: int32, numbers of the frames that come after a gap.
        jumps: number of frames whose timestamp repeats, goes back, or comes after a gap.
    """

    stamps: np.ndarray
    unit: float
    fps: float
    gaps: np.ndarray
    jumps: int


def plausible_rate(fps: float) -> float:
    """The rate of a header, or 0 if it cannot be a frame rate (0, 1000, 90000, inf, nan)."""
    return fps if math.isfinite(fps) and _LEAST_FPS <= fps <= _MOST_FPS else 0.0


def timeline(stamps: np.ndarray, unit: float, header: float) -> Timeline:
    """Times of frames that have timestamps.

    Gaps stay in `stamps`. If timestamps go back, the following frames are moved after the earlier ones.
    Frames with the same timestamp are spread evenly up to the next timestamp.

    Args:
        stamps: int64 (frames,), in the order in which the frames are shown.
        unit: seconds per unit.
        header: frame rate in the header of the file; used if the timestamps agree with it.

    Returns:
        The times; if all timestamps are equal, the result of :func:`counted_timeline`.
    """
    steps = np.diff(stamps)
    back = int((steps <= 0).sum())
    if back or not unit > 0:
        repaired = _repaired(steps * unit) if unit > 0 and (steps > 0).any() else None
        if repaired is None:
            return replace(counted_timeline(len(stamps), header), jumps=back)
        stamps, unit = repaired, 1 / _FINE
    gaps = find_gaps(stamps, unit)
    length = float(playing_times(stamps, unit, gaps)[-1])
    measured = (len(stamps) - 1) / length if length else plausible_rate(header)
    agrees = math.isfinite(header) and measured and abs(header / measured - 1) < _AGREE
    return Timeline(stamps, unit, header if agrees else measured, gaps, back + len(gaps))


def counted_timeline(frames: int, header: float) -> Timeline:
    """Times of frames without timestamps, from the rate in the header if that is plausible."""
    fps = plausible_rate(header)
    nothing = np.zeros(0, np.int32)
    return Timeline(np.arange(frames, dtype=np.int64), 1 / fps if fps else 0.0, fps, nothing, 0)


def find_gaps(stamps: np.ndarray, unit: float) -> np.ndarray:
    """Numbers (int32) of the frames that come after a gap; frame 0 is never among them.

    A gap is longer than half a second, and longer than ten times the steps around it. A slide show has none.

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


def _repaired(steps: np.ndarray) -> np.ndarray | None:
    """Stamps in 1/90000 s from steps in seconds, some of them not positive; None if frames are too dense."""
    usual = float(np.median(steps[steps > 0]))
    steps = np.where(steps < 0, usual, steps)
    times = np.concatenate([[0.0], np.cumsum(steps)])
    first = np.flatnonzero(np.concatenate([[True], steps > 0]))  # of every run of equal times
    lengths = np.diff(first, append=len(times))
    widths = np.minimum(np.diff(times[first], append=times[-1] + usual), usual)
    within = np.arange(len(times)) - np.repeat(first, lengths)
    stamps = np.round((times + within * np.repeat(widths / lengths, lengths)) * _FINE).astype(np.int64)
    return stamps if (np.diff(stamps) > 0).all() else None
