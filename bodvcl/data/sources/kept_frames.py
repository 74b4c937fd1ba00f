"""Decoded videos that stay in memory: a small data set is decoded once instead of once per epoch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bodvcl.data.files.reading import read_frames
from bodvcl.data.files.video import BadVideo, VideoInfo


class KeptFrames:
    """:func:`~bodvcl.data.files.reading.read_frames` with a cache.

    At its first use a video is decoded whole and kept, if it fits into the remaining memory; otherwise its
    frames are decoded at every use. The videos that come first are kept: the order is drawn anew every epoch,
    so no video is more useful than another.

    Args:
        room: memory for decoded frames in bytes. 0: nothing is kept.
    """

    def __init__(self, room: int) -> None:
        self._room = room
        self._kept: dict[tuple[str, int, int], np.ndarray] = {}

    def __call__(
        self, info: VideoInfo, indices: Sequence[int] | np.ndarray, size: tuple[int, int]
    ) -> np.ndarray:
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
