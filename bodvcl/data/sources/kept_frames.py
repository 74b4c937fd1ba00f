"""Decoded videos that stay in memory: a small data set is decoded once instead of once per epoch."""

from __future__ import annotations

import mmap
import warnings
import zlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from bodvcl.data.files.reading import read_frames
from bodvcl.data.files.video import BadVideo, VideoInfo

Size = tuple[int, int]
"""Height and width in pixels."""

_Key = tuple[str, int, int, int, int]
"""Path of a video, its first frame and number of frames in the file, and its size."""

_THERE, _REFUSED = 1, 2


class _Place(NamedTuple):
    """Where a video is kept: its number among those that are kept, its first byte, and its shape."""

    number: int
    first: int
    shape: tuple[int, int, int, int]

    @property
    def nbytes(self) -> int:
        """Bytes."""
        return int(np.prod(self.shape, dtype=np.int64))


class KeptFrames:
    """:func:`~bodvcl.data.files.reading.read_frames` with a memory that forked processes share.

    At its first use a video is decoded whole, by the process that needs it, and kept for all. A video for
    which there is no room is decoded at every use. Processes do not wait for each other: two may decode the
    same video at the same time, and each checks what another has left before its first use.

    Args:
        videos: videos that may be kept; the first ones are, as far as there is room.
        sizes: size to which the frames of each are decoded.
        room: memory for decoded frames in bytes. 0: nothing is kept.
    """

    def __init__(self, videos: Sequence[VideoInfo], sizes: Sequence[Size], room: int) -> None:
        self._places: dict[_Key, _Place] = {}
        used = 0
        for info, size in zip(videos, sizes):
            name, shape = _key(info, size), (info.frames, *size, 3)
            needed = bytes_of(info, size)
            if name not in self._places and used + needed <= room:
                self._places[name] = _Place(len(self._places), used, shape)
                used += needed
        self._size = used
        self._allocate()

    def _allocate(self) -> None:
        try:
            memory = mmap.mmap(-1, max(1, self._size))  # used only as videos come in
        except OSError as error:
            warnings.warn(
                f"no memory to keep decoded videos ({error.strerror}): each clip is decoded when needed",
                stacklevel=3,
            )
            self._places, memory = {}, mmap.mmap(-1, 1)
        count = len(self._places)
        self._frames = np.frombuffer(memory, np.uint8)
        self._states = np.frombuffer(mmap.mmap(-1, max(1, count)), np.uint8)
        self._sums = np.frombuffer(mmap.mmap(-1, max(4, 4 * count)), np.uint32)
        self._seen: set[int] = set()

    def __getstate__(self) -> dict[str, Any]:
        """Memory does not travel: a process that was not forked has its own."""
        return {"_places": self._places, "_size": self._size}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._allocate()

    def __call__(self, info: VideoInfo, indices: Sequence[int] | np.ndarray, size: Size) -> np.ndarray:
        """What ``read_frames(info, indices, size)`` returns.

        Raises:
            IndexError: a frame number is outside of the video.
            BadVideo: a requested frame cannot be decoded; other damage is ignored.
        """
        frames = self._whole(info, size)
        if frames is None:
            return read_frames(info, indices, size)
        indices = np.asarray(indices, np.int64)
        if indices.min(initial=0) < 0:
            raise IndexError(
                f"frames {indices.tolist()} of {info.path}; expected numbers from 0 to {info.frames - 1}"
            )
        chosen: np.ndarray = frames[indices]
        return chosen

    def _whole(self, info: VideoInfo, size: Size) -> np.ndarray | None:
        """All frames of a video; None: it is not kept."""
        place = self._places.get(_key(info, size))
        if place is None or self._states[place.number] == _REFUSED:
            return None
        frames = self._frames[place.first : place.first + place.nbytes]
        if place.number not in self._seen and not self._complete(place, frames):
            try:
                frames[:] = read_frames(info, range(info.frames), size).reshape(-1)
            except BadVideo:
                self._states[place.number] = _REFUSED
                return None
            self._sums[place.number] = zlib.crc32(frames.data)
            self._states[place.number] = _THERE
        self._seen.add(place.number)
        return frames.reshape(place.shape)

    def _complete(self, place: _Place, frames: np.ndarray) -> bool:
        """Whether another process has left the whole video; it may be about to."""
        there = self._states[place.number] == _THERE
        return bool(there and self._sums[place.number] == zlib.crc32(frames.data))


def _key(info: VideoInfo, size: Size) -> _Key:
    return info.path, info.first, info.frames, *size


def bytes_of(info: VideoInfo, size: Size) -> int:
    """Bytes of all frames of a video, decoded to a size."""
    return info.frames * size[0] * size[1] * 3
