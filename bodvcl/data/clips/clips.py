"""Every random draw of a clip, as a pure function of (seed, epoch, video).

A counter-based generator (Philox) is addressed by those numbers, so a draw depends neither on the number of
workers, nor on the place in a batch, nor on what was drawn before: a resumed run draws what it would have
drawn.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from bodvcl.config.schema import AugmentConfig, ClipConfig
from bodvcl.data.files.video import VideoInfo
from bodvcl.data.randomness import generator
from bodvcl.text.words import counted

_CLIPS = 2
_CROP_TRIES = 10
_DRAWS = 32  # uniforms per view; a fixed number, so that switching one augmentation off moves no other draw
_ROUNDING = 1e-6  # seconds
_LONG = 4  # usual steps that a frame may stay, however short the clip
_STILL = 0.5  # a clip shorter than this many frames of the video is mostly a still picture
_LUMA = np.array([0.299, 0.587, 0.114])
_YIQ = np.array([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])
_RGB = np.linalg.inv(_YIQ)


@dataclass(frozen=True)
class ClipDraws:
    """The clips to cut from one video, one row per clip.

    Attributes:
        frames: int64 (views, L) frame numbers.
        boxes: float64 (views, 4), top, left, height, width of the crop as shares of the frame.
        colour: float32 (views, 3, 4), affine map of RGB in [0, 1]: colour[:, :3] @ rgb + colour[:, 3].
        flip: bool (views,), mirror left and right.
        sigma: float32 (views,), standard deviation of the blur in output pixels; 0 for none.
    """

    frames: np.ndarray
    boxes: np.ndarray
    colour: np.ndarray
    flip: np.ndarray
    sigma: np.ndarray


def _offsets(clip: ClipConfig) -> np.ndarray:
    """float64 (L,): distance of each frame of a clip from the first, in frames."""
    if clip.spacing == "linspace":
        return np.linspace(0, clip.frames * clip.stride - 1, clip.frames)
    return np.arange(clip.frames, dtype=np.float64) * clip.stride


def _times(info: VideoInfo, seconds: float) -> np.ndarray:
    """float64 (frames,): when a clip of some length shows each frame, in seconds since the first.

    Without gaps, and no frame stays for more than half the clip, unless frames are usually that far apart.
    """
    times = info.playing_times()
    if info.pts is None:
        return times
    steps = np.diff(times)
    longest = max(seconds / 2, _LONG * float(np.median(steps)))
    return times if steps.max() <= longest else np.append(0.0, np.cumsum(np.minimum(steps, longest)))


def required_frames(info: VideoInfo, clip: ClipConfig) -> int:
    """Frames that a video must have to hold one clip; with `clip.fps`, by the times of its frames.

    A video that is too short in time is taken to go on at its average rate.
    """
    last = float(_offsets(clip)[-1])
    if clip.fps is None:
        return math.floor(last) + 1
    seconds = last / clip.fps
    times = _times(info, seconds)
    there = int(np.searchsorted(times, seconds + _ROUNDING, side="right"))
    missing = max(seconds + _ROUNDING - times[-1], 0.0)
    return there + (math.floor(missing * info.fps) if info.fps else int(missing > _ROUNDING))


def why_unfit(info: VideoInfo, clip: ClipConfig) -> str | None:
    """Why no clip can be cut from a video, with what to do about it, or None."""
    if clip.fps is not None and not info.fps and info.frames > 1:
        return (
            "neither its timestamps nor its header say when its frames are shown, which --clip.fps "
            f"{clip.fps:g} needs; leave --clip.fps away, or write the file anew with its true frame rate"
        )
    seconds = 0.0 if clip.fps is None else float(_offsets(clip)[-1]) / clip.fps
    if info.frames > 1 and 0 < seconds * info.fps < _STILL:
        return (
            f"a frame every {1 / info.fps:.3g} s, and a clip of {seconds:.3g} s would mostly be a single "
            "one; lower --clip.fps, or raise --clip.frames or --clip.stride"
        )
    needed = required_frames(info, clip)
    if info.frames >= needed or clip.short == "repeat":
        return None
    rate = "" if clip.fps is None else f" at {clip.fps:g} fps"
    return (
        f"{counted(info.frames, 'frame')}, a clip of {clip.frames} frames with stride {clip.stride}"
        f"{rate} needs {needed} (--clip.short repeat keeps it)"
    )


def clip_frames(info: VideoInfo, clip: ClipConfig, where: np.ndarray) -> np.ndarray:
    """Frame numbers of clips that start at given places.

    With `clip.fps` a clip is cut in time: the frame on display at start + offset / fps. Gaps between
    timestamps are left out, and no frame fills more than half a clip. Numbers past the end give the last
    frame.

    Args:
        info: the video.
        clip: length, stride and frame rate.
        where: (views,) in [0, 1), place of the start among all starts that fit.

    Returns:
        int64 (views, L).
    """
    offsets = _offsets(clip)
    if clip.fps is None:
        steps = np.floor(offsets).astype(np.int64)
        starts = np.floor(where * max(info.frames - steps[-1], 1)).astype(np.int64)
        numbers = starts[:, None] + steps
    else:
        seconds = offsets / clip.fps
        times = _times(info, float(seconds[-1]))
        starts = where * max(times[-1] - seconds[-1], 0.0)
        numbers = np.searchsorted(times, starts[:, None] + seconds + _ROUNDING, side="right") - 1
    return np.minimum(numbers, info.frames - 1)


def _crop_boxes(info: VideoInfo, augment: AugmentConfig, uniform: np.ndarray) -> np.ndarray:
    """Random resized crop: the first of ten tries that fits, else the largest centred box."""
    tries, place = uniform[:, : 2 * _CROP_TRIES].reshape(-1, _CROP_TRIES, 2), uniform[:, -2:]
    low, high = augment.crop_area
    area = (low + (high - low) * tries[:, :, 0]) * info.width * info.height
    low, high = np.log(augment.crop_aspect)
    aspect = np.exp(low + (high - low) * tries[:, :, 1])
    widths, heights = np.sqrt(area * aspect) / info.width, np.sqrt(area / aspect) / info.height
    fits = (widths <= 1) & (heights <= 1)
    first = np.arange(len(fits)), fits.argmax(axis=1)
    shape = info.width / info.height
    fallback = np.clip(shape, *augment.crop_aspect)
    width = np.where(fits.any(axis=1), widths[first], min(1.0, fallback / shape))
    height = np.where(fits.any(axis=1), heights[first], min(1.0, shape / fallback))
    corner = np.where(fits.any(axis=1)[:, None], place, 0.5)
    return np.stack([corner[:, 0] * (1 - height), corner[:, 1] * (1 - width), height, width], axis=1)


def box_in_pixels(box: np.ndarray, rows: int, columns: int) -> tuple[int, int, int, int]:
    """Top, left, height and width in whole pixels of a box given in shares of a frame; at least one pixel."""
    top, left = round(box[0] * rows), round(box[1] * columns)
    height = max(min(round(box[2] * rows), rows - top), 1)
    width = max(min(round(box[3] * columns), columns - left), 1)
    return min(top, rows - 1), min(left, columns - 1), height, width


def colour_matrix(
    brightness: float, contrast: float, saturation: float, hue: float, gray: bool
) -> np.ndarray:
    """Compose brightness, contrast about mid-grey, saturation, hue (a turn in YIQ) and grayscale, in order.

    Args:
        brightness, contrast, saturation: factors, 1 for no change.
        hue: turn as a share of a full circle.
        gray: replace the colour by its luma at the end.

    Returns:
        float64 (3, 4), an affine map of RGB in [0, 1].
    """
    cos, sin = math.cos(2 * math.pi * hue), math.sin(2 * math.pi * hue)
    turn = _RGB @ np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]]) @ _YIQ
    linear = turn @ (saturation * np.eye(3) + (1 - saturation) * _LUMA)
    if gray:
        linear = np.tile(_LUMA @ linear, (3, 1))
    offset = linear @ np.full(3, 0.5 * (1 - contrast))
    return np.concatenate([contrast * brightness * linear, offset[:, None]], axis=1)


def draw_clips(
    info: VideoInfo, clip: ClipConfig, augment: AugmentConfig, *, seed: int, epoch: int, index: int
) -> ClipDraws:
    """Draw `clip.views` clips of a video with their augmentation; starts are uniform and independent.

    With `clip.twin` the last clip has the frames of the first; its augmentation is drawn apart.

    Args:
        info: the video.
        clip, augment: what to draw.
        seed, epoch, index: address of the draw; index is the video's number in the data set.
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
    colour = [colour_matrix(*row, gray=one < augment.gray) for row, one in zip(factors.tolist(), gray)]
    return ClipDraws(
        frames=clip_frames(info, clip, start),
        boxes=_crop_boxes(info, augment, crop),
        colour=np.stack(colour).astype(np.float32),
        flip=flip < augment.flip,
        sigma=np.where(blur < augment.blur, low + (high - low) * sigma, 0.0).astype(np.float32),
    )


def evaluation_draws(info: VideoInfo, clip: ClipConfig, clips_per_video: int) -> ClipDraws:
    """Clips spread evenly over a video, largest centred square, no colour change, no flip, no blur."""
    count = clips_per_video
    where = (np.arange(count) + 0.5) / count
    side = min(info.width, info.height)
    height, width = side / info.height, side / info.width
    identity = np.eye(3, 4, dtype=np.float32)
    return ClipDraws(
        frames=clip_frames(info, clip, where),
        boxes=np.tile([(1 - height) / 2, (1 - width) / 2, height, width], (count, 1)),
        colour=np.tile(identity, (count, 1, 1)),
        flip=np.zeros(count, bool),
        sigma=np.zeros(count, np.float32),
    )
