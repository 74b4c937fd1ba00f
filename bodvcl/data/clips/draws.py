"""Every random draw of a clip, as a pure function of (seed, epoch, video).

A draw does not depend on the number of workers, on the position in a batch, or on earlier draws. A resumed
run therefore draws the same clips as one that was never interrupted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bodvcl.config.schema import AugmentConfig, ClipConfig
from bodvcl.data.clips.boxes import random_boxes, squares_along
from bodvcl.data.clips.colour import colour_matrix
from bodvcl.data.files.clip_fit import ROUNDING, clip_offsets, clip_times
from bodvcl.data.files.video import VideoInfo
from bodvcl.data.randomness import generator

_CLIPS = 2  # purpose of these random numbers; the order of the videos has 1
_MIX = 5  # ... and those of the mix
_DRAWS = 32  # uniforms per view; a fixed number, so that switching one augmentation off moves no other draw


@dataclass(frozen=True)
class ClipDraws:
    """The clips to cut from one video, one row per clip.

    Attributes:
        frames: int64 (views, L) frame numbers.
        boxes: float64 (views, 4), top, left, height, width of the crop as shares of the frame.
        colour: float32 (views, 3, 4), affine map of RGB in [0, 1]: colour[:, :3] @ rgb + colour[:, 3].
        flip: bool (views,), mirror left and right.
        sigma: float32 (views,), standard deviation of the blur in output pixels; 0 for none.
        share: float32 (views,), share of the scene that the scene of another video replaces.
        donor: float32 (views, 2) in [0, 1): which other video, and which of its clips.
    """

    frames: np.ndarray
    boxes: np.ndarray
    colour: np.ndarray
    flip: np.ndarray
    sigma: np.ndarray
    share: np.ndarray
    donor: np.ndarray


def clip_frames(
    info: VideoInfo, clip: ClipConfig, where: np.ndarray, first: int = 0, stop: int | None = None
) -> np.ndarray:
    """Frame numbers of clips that start at given positions of a video, or of a part of it.

    With `clip.fps` a clip is cut by time: it has the frames that are shown at start + offset / fps. Gaps
    between timestamps are skipped, and no frame fills more than half a clip. A clip that goes beyond the end
    repeats the last frame.

    Args:
        info: the video.
        clip: length, stride and frame rate.
        where: (views,) in [0, 1), position of the start among all starts that fit.
        first, stop: the part has the frames first .. stop - 1. None: to the end of the video.

    Returns:
        int64 (views, L).
    """
    stop = info.frames if stop is None else stop
    offsets = clip_offsets(clip)
    if clip.fps is None:
        steps = np.floor(offsets).astype(np.int64)
        starts = np.floor(where * max(stop - first - steps[-1], 1)).astype(np.int64)
        numbers = starts[:, None] + steps
    else:
        seconds = offsets / clip.fps
        times = clip_times(info, float(seconds[-1]))[first:stop]
        times = times - times[0]
        starts = where * max(times[-1] - seconds[-1], 0.0)
        numbers = np.searchsorted(times, starts[:, None] + seconds + ROUNDING, side="right") - 1
    inside: np.ndarray = np.minimum(first + numbers, stop - 1)
    return inside


def draw_clips(
    info: VideoInfo, clip: ClipConfig, augment: AugmentConfig, *, seed: int, epoch: int, index: int
) -> ClipDraws:
    """Draw `clip.views` clips of a video and their augmentation; starts are uniform and independent.

    With `clip.twin` the last clip has the frames of the first, but an augmentation of its own.

    Args:
        info: the video.
        clip: length, stride, frame rate and number of clips.
        augment: ranges and probabilities of the augmentation.
        seed: seed of the run.
        epoch: epoch, from 0.
        index: position of the video in the list of training videos.
    """
    uniform = generator(seed, _CLIPS, epoch, index).random((clip.views, _DRAWS))
    start, crop, flip = uniform[:, 0], uniform[:, 1:23], uniform[:, 23]
    if clip.twin:
        start[-1] = start[0]
    jitter, factors, gray, blur, sigma = (
        uniform[:, 24],
        uniform[:, 25:29],
        uniform[:, 29],
        uniform[:, 30],
        uniform[:, 31],
    )
    spread = np.array([augment.brightness, augment.contrast, augment.saturation, augment.hue])
    change = np.where((jitter < augment.jitter)[:, None], (2 * factors - 1) * spread, 0.0)
    factors = change + np.array([1.0, 1.0, 1.0, 0.0])
    low, high = augment.blur_sigma
    colour = [
        colour_matrix(brightness, contrast, saturation, hue, one < augment.gray)
        for (brightness, contrast, saturation, hue), one in zip(factors.tolist(), gray.tolist())
    ]
    mix = generator(seed, _MIX, epoch, index).random((clip.views, 3))
    return ClipDraws(
        frames=clip_frames(info, clip, start),
        boxes=random_boxes(info, augment, crop),
        colour=np.stack(colour).astype(np.float32),
        flip=flip < augment.flip,
        sigma=np.where(blur < augment.blur, low + (high - low) * sigma, 0.0).astype(np.float32),
        share=(augment.mix * mix[:, 0]).astype(np.float32),
        donor=mix[:, 1:3].astype(np.float32),
    )


def evaluation_draws(
    info: VideoInfo,
    clip: ClipConfig,
    clips_per_video: int,
    crops: int = 1,
    first: int = 0,
    stop: int | None = None,
) -> ClipDraws:
    """Clips for evaluation: spread evenly over the video or a part, as :func:`plain_draws` cuts them.

    Args:
        info: the video.
        clip: length, stride and frame rate; `clip.views` is not used.
        clips_per_video: number of places in time.
        crops: squares along the longer side of the frame, at each place; 1: the centred one. The crops of a
            place are neighbours.
        first, stop: part of the video that the clips are cut from, as in :func:`clip_frames`.
    """
    return plain_draws(info, clip, (np.arange(clips_per_video) + 0.5) / clips_per_video, crops, first, stop)


def plain_draws(
    info: VideoInfo,
    clip: ClipConfig,
    where: np.ndarray,
    crops: int = 1,
    first: int = 0,
    stop: int | None = None,
) -> ClipDraws:
    """Clips at given positions: largest squares, no other augmentation.

    Args:
        info: the video.
        clip: length, stride and frame rate; `clip.views` is not used.
        where: (places,) in [0, 1), as in :func:`clip_frames`.
        crops: squares along the longer side of the frame, at each place; 1: the centred one. The crops of a
            place are neighbours.
        first, stop: part of the video that the clips are cut from, as in :func:`clip_frames`.
    """
    count = len(where) * crops
    identity = np.eye(3, 4, dtype=np.float32)
    return ClipDraws(
        frames=clip_frames(info, clip, where.repeat(crops), first, stop),
        boxes=np.tile(squares_along(info.height, info.width, crops), (len(where), 1)),
        colour=np.tile(identity, (count, 1, 1)),
        flip=np.zeros(count, bool),
        sigma=np.zeros(count, np.float32),
        share=np.zeros(count, np.float32),
        donor=np.zeros((count, 2), np.float32),
    )
