"""Write copies of one video, or of parts of it, as H.264 in MP4; the source is decoded only once."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from bodvcl.data.files.h264 import add_h264
from bodvcl.data.files.parts import frames_of
from bodvcl.data.files.probing import probe_video
from bodvcl.data.files.reading import stream_frames
from bodvcl.data.files.video import BadVideo, VideoInfo
from bodvcl.data.sets import Segment
from bodvcl.text.words import counted

_LONG_SIDE = 16  # the long side is a multiple of this: a data set then has few picture sizes
_LONGEST_STEP = 2**31 - 1  # units of time between two frames of an MP4 file


@dataclass(frozen=True)
class CopySettings:
    """How a copy is encoded.

    Attributes:
        short_side: pixels of the shorter side, even; smaller videos keep their size.
        gop: frames from one key frame to the next.
        crf: quality of x264, 0 (lossless) to 51.
    """

    short_side: int = 256
    gop: int = 12
    crf: int = 20


def copy_size(width: int, height: int, short_side: int) -> tuple[int, int]:
    """(width, height) of the copy in pixels: even, and never larger than the source.

    If it is smaller, its long side is rounded to a multiple of 16; the picture is stretched, not cropped.
    """
    short, long = min(width, height), max(width, height)
    if short <= short_side:
        return max(width // 2 * 2, 2), max(height // 2 * 2, 2)
    scaled = max(round(long * short_side / short / _LONG_SIDE) * _LONG_SIDE, short_side)
    return (scaled, short_side) if width >= height else (short_side, scaled)


def time_unit(seconds: float) -> Fraction:
    """A unit of time in seconds as the fraction it was before rounding; MP4 has denominators below 2^31."""
    return Fraction(seconds).limit_denominator(2**31 - 1)


def copy_stamps(info: VideoInfo, frames: range) -> list[int]:
    """Timestamps of the frames of a copy, from 0, in units of `info.time_base`.

    They are the timestamps of the source, but a gap that is too long for MP4 becomes a usual step.
    """
    stamps = np.array([info.pts_of(number) for number in frames], np.int64)
    steps = np.diff(stamps)
    if (steps > _LONGEST_STEP).any():
        steps[steps > _LONGEST_STEP] = max(int(np.median(steps)), 1)
        stamps = np.append(0, np.cumsum(steps))
    since: list[int] = (stamps - stamps[0]).tolist()
    return since


class _Copy:
    """One copy while it is written. Frames are added in order; the file gets its name after a check."""

    def __init__(self, info: VideoInfo, frames: range, target: Path, settings: CopySettings) -> None:
        self._source, self._target, self._unit = info.path, target, time_unit(info.time_base)
        self._stamps = copy_stamps(info, frames)
        self._frames = 0
        self._part = target.with_name(f".{target.name}.part")
        target.parent.mkdir(parents=True, exist_ok=True)
        self._container = av.open(str(self._part), "w", format="mp4", options={"movflags": "faststart"})
        rate = Fraction(info.fps).limit_denominator(1001) or Fraction(1, 1001)
        self._stream = add_h264(
            self._container,
            copy_size(info.width, info.height, settings.short_side),
            rate=rate,
            unit=self._unit,
            options={
                "crf": str(settings.crf),
                "x264-params": f"keyint={settings.gop}:min-keyint={settings.gop}:scenecut=0:open-gop=0:"
                "bframes=0",
            },
        )

    @property
    def full(self) -> bool:
        """Whether all frames have been added."""
        return self._frames == len(self._stamps)

    def add(self, image: np.ndarray) -> None:
        """Add the next frame, uint8 (height, width, 3) RGB."""
        frame = av.VideoFrame.from_ndarray(image, format="rgb24")
        frame.pts, frame.time_base = self._stamps[self._frames], self._unit
        self._container.mux(self._stream.encode(frame))
        self._frames += 1

    def finish(self) -> None:
        """Complete the file, read it back, and give it its name."""
        self._container.mux(self._stream.encode(None))
        self._container.close()
        found = probe_video(self._part).frames
        if found != self._frames:
            raise BadVideo(self._source, f"its copy has {counted(found, 'frame')} instead of {self._frames}")
        os.replace(self._part, self._target)

    def discard(self) -> None:
        """Remove the unfinished file. After :meth:`finish` there is none."""
        with suppress(OSError, av.FFmpegError):
            self._container.close()
        self._part.unlink(missing_ok=True)


def write_copies(
    info: VideoInfo, parts: Sequence[tuple[Segment | None, Path]], settings: CopySettings
) -> list[BadVideo | None]:
    """Encode one video, or segments of it, decoding it once. A file gets its name when it is complete.

    Args:
        info: the source.
        parts: for every copy the segment, or None for all frames, and the path of the new .mp4 file.
        settings: size and encoding.

    Returns:
        For each part None, or why it has no copy.

    Raises:
        OSError: a file cannot be written.
    """
    faults: list[BadVideo | None] = [None] * len(parts)
    waiting: list[tuple[int, range]] = []
    for part, (segment, _) in enumerate(parts):
        try:
            waiting.append((part, frames_of(info, segment)))
        except BadVideo as error:
            faults[part] = error
    waiting.sort(key=lambda item: item[1].start, reverse=True)
    while waiting:
        _decode_once(info, waiting, parts, settings, faults)
    return faults


def _decode_once(
    info: VideoInfo,
    waiting: list[tuple[int, range]],
    parts: Sequence[tuple[Segment | None, Path]],
    settings: CopySettings,
    faults: list[BadVideo | None],
) -> None:
    """Write the waiting copies. If a frame cannot be decoded, copies that start after it keep waiting.

    Args:
        info, parts, settings: as in :func:`write_copies`.
        waiting: numbers of the parts and their frames, latest start first; begun copies are removed.
        faults: is filled in, one entry per part.
    """
    numbers = sorted(set().union(*(frames for _, frames in waiting)))
    width, height = copy_size(info.width, info.height, settings.short_side)
    begun: dict[int, _Copy] = {}
    try:
        for number, image in zip(numbers, stream_frames(info, numbers, (height, width))):
            while waiting and waiting[-1][1].start == number:
                part, frames = waiting.pop()
                begun[part] = _Copy(info, frames, parts[part][1], settings)
            for part, copy in tuple(begun.items()):
                copy.add(image)
                if copy.full:
                    faults[part] = _finished(copy)
                    del begun[part]
    except BadVideo as error:
        reached = list(begun)
        while waiting and (info.sequential or not reached):  # nothing behind it can be reached
            reached.append(waiting.pop()[0])
        for part in reached:
            faults[part] = error
    finally:
        for copy in begun.values():
            copy.discard()


def _finished(copy: _Copy) -> BadVideo | None:
    try:
        copy.finish()
    except BadVideo as error:
        return error
    finally:
        copy.discard()
    return None
