"""Videos that stay in memory, decoded: small data sets are read once instead of once an epoch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bodvcl.data.files.reading import read_frames
from bodvcl.data.files.video import BadVideo, VideoInfo


class KeptFrames:
    """:func:`~bodvcl.data.files.reading.read_frames` with a memory.

    A video is decoded whole at its first use and kept if it fits into what is left of the room; else its
    frames are decoded every time. Kept are the videos that came first: with an order that is drawn anew
    every epoch none is worth more than another.

    Args:
        room: bytes for decoded frames; 0: nothing is kept.
    """

    def __init__(self, room: int) -> None:
        self._room = room
        self._kept: dict[tuple[str, int, int], np.ndarray] = {}

    def __call__(
        self, info: VideoInfo, indices: Sequence[int] | np.ndarray, size: tuple[int, int]
    ) -> np.ndarray:
        """What ``read_frames(info, indices, size)`` returns.

        Raises:
            IndexError, BadVideo: as there; damage among frames that were not asked for is none.
        """
        frames = self._whole(info, size)
        if frames is None:
            return read_frames(info, indices, size)
        indices = np.asarray(indices, np.int64)
        if indices.min(initial=0) < 0:
            raise IndexError(f"frames {indices.tolist()} of a video of {info.frames} frames")
        chosen: np.ndarray = frames[indices]
        return chosen

    def _whole(self, info: VideoInfo, size: tuple[int, int]) -> np.ndarray | None:
        name = (info.path, *size)
        if name in self._kept:
            return self._kept[name]
        needed = info.frames * size[0] * size[1] * 3
        if needed > self._room:
            return None
        try:
            frames = read_frames(info, range(info.frames), size)
        except BadVideo:
            return None
        self._room -= needed
        self._kept[name] = frames
        return frames
