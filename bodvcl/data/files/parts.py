"""A part of a file as a video of its own: its frames, their numbers and their times."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bodvcl.data.files.video import BadVideo, VideoInfo
from bodvcl.data.sets.rows import Segment

_ROUNDING = 1e-6  # seconds


def part_of(info: VideoInfo, segment: Segment) -> VideoInfo:
    """The frames that a file shows from a start to an end.

    Args:
        info: the whole file.
        segment: the part.

    Returns:
        A video whose frame 0 is the first frame of the part; ``info`` itself if the part is all of it.

    Raises:
        BadVideo: see :func:`frames_of`.
    """
    frames = frames_of(info, segment)
    if len(frames) == info.frames:
        return info
    first, stop = frames.start, frames.stop
    pts, step = None if info.pts is None else info.pts[first:stop], info.pts_step
    if pts is not None and len(set(np.diff(pts).tolist())) < 2:  # here the rate is constant
        step = int(pts[1] - pts[0]) if len(pts) > 1 else 1
        pts = None
    inside = (info.keyframes > first) & (info.keyframes < stop)
    gaps = info.gaps[(info.gaps > first) & (info.gaps < stop)] - first
    return replace(
        info,
        frames=len(frames),
        first_pts=info.pts_of(first),
        pts=pts,
        pts_step=step,
        keyframes=np.append(0, info.keyframes[inside] - first).astype(np.int32),
        gaps=gaps,
        jumps=len(gaps),
        duration=len(frames) / info.fps if info.fps else 0.0,
        whole=info,
        first=first,
    )


def frames_of(info: VideoInfo, segment: Segment | None) -> range:
    """Numbers of the frames that a file shows from a start to an end, the end not included; None: of all.

    An end may lie up to one frame behind the end of the file: lists round times.

    Raises:
        BadVideo: the segment has no frame or ends behind the file, or the file does not say when its frames
            are shown.
    """
    if info.time_base <= 0:
        raise BadVideo(
            info.path,
            "neither its timestamps nor its header say when its frames are shown; re-encode it with its "
            "true frame rate",
        )
    if segment is None:
        return range(info.frames)
    times = info.times()
    first, last = np.searchsorted(times, [segment.start - _ROUNDING, segment.end - _ROUNDING]).tolist()
    frame = 1 / info.fps if info.fps else 0.0
    end = float(times[-1]) + frame
    asked = f"from {segment.start:g} to {segment.end:g} s"
    if last <= first:
        raise BadVideo(info.path, f"no frame {asked}; it is {end:.1f} s long")
    if segment.end > end + frame + _ROUNDING:
        raise BadVideo(
            info.path,
            f"{asked} is asked for, but it is only {end:.1f} s long; times count from its first frame",
        )
    return range(first, last)
