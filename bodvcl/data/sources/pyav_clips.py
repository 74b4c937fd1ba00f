"""Clips of some videos, decoded with PyAV in this process."""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from bodvcl.config.schema import ClipConfig
from bodvcl.data.clips.augment import crop_resize
from bodvcl.data.clips.batch import ClipBatch
from bodvcl.data.clips.draws import ClipDraws
from bodvcl.data.clips.plan import collect
from bodvcl.data.files.reading import read_frames
from bodvcl.data.files.video import BadVideo, VideoInfo

_REDUCE = 0.25  # scale below which decoding to a reduced size is faster, measured from 256 to 720 lines


def decode_size(info: VideoInfo, clip: ClipConfig, smallest_crop: float) -> tuple[int, int]:
    """(height, width) in pixels to decode to: the stored size, unless a quarter of it is enough.

    FFmpeg converts a frame ten times faster if it does not have to scale it, so a reduced size is faster only
    for very large videos.

    Args:
        info: the video.
        clip: the size of the clips.
        smallest_crop: share of the frame area that the smallest crop covers, in (0, 1].
    """
    needed = math.ceil(clip.size / math.sqrt(smallest_crop))
    height, width = info.pixels
    scale = needed / min(height, width)
    if scale > _REDUCE:
        return height, width
    return max(round(height * scale), 1), max(round(width * scale), 1)


def load_clips(
    info: VideoInfo,
    draws: ClipDraws,
    clip: ClipConfig,
    smallest_crop: float,
    out: Tensor,
    read: Callable[..., np.ndarray] = read_frames,
) -> None:
    """Decode, crop and resize all clips of one video; the file is opened once.

    Args:
        info: the video.
        draws: frames and boxes of the clips.
        clip: the size of the clips.
        smallest_crop: share of the frame area that the smallest crop covers, in (0, 1].
        out: uint8 (views, L, S, S, 3), is filled in.
        read: :func:`~bodvcl.data.files.reading.read_frames`, or a cache of it.

    Raises:
        BadVideo: a frame cannot be decoded.
    """
    views, length = draws.frames.shape
    numbers, places = np.unique(draws.frames, return_inverse=True)  # crops share the frames of their clip
    frames = read(info, numbers, decode_size(info, clip, smallest_crop))
    for view, rows in enumerate(places.reshape(views, length)):
        out[view] = crop_resize(frames[rows], draws.boxes[view], clip.size)


def read_batch(
    videos: Sequence[VideoInfo],
    indices: Sequence[int],
    draw: Callable[[int], ClipDraws],
    clip: ClipConfig,
    smallest_crop: float,
    unusable: Mapping[int, str],
    epoch: int = 0,
    step: int = 0,
    read: Callable[..., np.ndarray] = read_frames,
    spares: Iterable[int] = (),
) -> ClipBatch:
    """Read the clips of some videos.

    An unreadable video is listed in `failures`. The next readable one of `spares` takes its place; where
    there is none, the batch is smaller.

    Args:
        videos: all videos.
        indices: numbers of the videos to read.
        draw: maps the number of a video to its clips.
        clip: the size of the clips.
        smallest_crop: share of the frame area that the smallest crop covers, in (0, 1].
        unusable: maps the numbers of videos that must not be opened to reasons.
        epoch, step: position in the training, from 0.
        read: :func:`~bodvcl.data.files.reading.read_frames`, or a cache of it.
        spares: numbers of videos that are not in `indices`.
    """
    loaded: list[ClipDraws] = []
    ids: list[int] = []
    failures: list[tuple[str, str]] = []
    clips = torch.empty(0, dtype=torch.uint8)
    others = iter(spares)
    wanted = deque(indices)
    while wanted:
        index = wanted.popleft()
        draws = draw(index)
        views, length = draws.frames.shape
        if not len(clips):
            clips = torch.empty((len(indices) * views, length, clip.size, clip.size, 3), dtype=torch.uint8)
        place = len(ids) * views
        try:
            if index in unusable:
                raise BadVideo(videos[index].path, unusable[index])
            load_clips(videos[index], draws, clip, smallest_crop, clips[place : place + views], read)
        except BadVideo as error:
            failures.append((error.path, error.reason))
            wanted.extendleft(itertools.islice(others, 1))
            continue
        loaded.append(draws)
        ids.append(index)
    return collect(clips[: len(ids) * views], ids, loaded, failures, epoch, step)
