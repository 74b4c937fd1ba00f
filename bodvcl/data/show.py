"""Clips as training sees them, beside the whole frames that they were cut from."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from bodvcl.config.schema import AugmentConfig, ClipConfig
from bodvcl.data.clips.augment import finish
from bodvcl.data.clips.boxes import box_in_pixels
from bodvcl.data.clips.colour import colour_matrix
from bodvcl.data.clips.draws import ClipDraws, draw_clips
from bodvcl.data.clips.plan import collect
from bodvcl.data.files.reading import read_frames
from bodvcl.data.files.video import VideoInfo
from bodvcl.data.sources.pyav_clips import load_clips


class SeenVideo(NamedTuple):
    """A video as training sees it.

    Attributes:
        video: the video.
        draws: what was drawn for its clips.
        before: uint8 (views, L, h, w, 3), the whole frames, scaled down.
        after: uint8 (views, L, S, S, 3), what the network gets, with the normalisation undone; but for the
            scenes of other videos, which are mixed in within a batch.
    """

    video: VideoInfo
    draws: ClipDraws
    before: NDArray[np.uint8]
    after: NDArray[np.uint8]


def see_video(
    video: VideoInfo,
    index: int,
    clip: ClipConfig,
    augment: AugmentConfig,
    *,
    seed: int,
    epoch: int,
    height: int = 224,
) -> SeenVideo:
    """Decode and augment the clips of one video as training does.

    Args:
        video: the video.
        index: its number among the training videos.
        clip: length, stride, size and number of its clips.
        augment: augmentation and normalisation.
        seed: seed of the run.
        epoch: epoch, from 0.
        height: largest height of the whole frames in pixels.

    Returns:
        The clips of this epoch before and after augmentation.

    Raises:
        BadVideo: a frame cannot be decoded.
    """
    draws = draw_clips(video, clip, augment, seed=seed, epoch=epoch, index=index)
    cut = torch.empty((*draws.frames.shape, clip.size, clip.size, 3), dtype=torch.uint8)
    load_clips(video, draws, clip, augment.crop_area[0], cut)
    out = finish(collect(cut, [index], [draws]), augment).permute(0, 2, 3, 4, 1) * augment.std + augment.mean
    scale = min(1.0, height / video.height)
    size = max(round(video.height * scale), 1), max(round(video.width * scale), 1)
    whole = read_frames(video, draws.frames.reshape(-1), size)
    return SeenVideo(
        video=video,
        draws=draws,
        before=whole.reshape(*draws.frames.shape, *whole.shape[1:]),
        after=(out * 255).round().clamp(0, 255).to(torch.uint8).numpy(),
    )


class ColourFactors(NamedTuple):
    """Factors that :func:`bodvcl.data.clips.colour.colour_matrix` takes; hue is a share of a full circle."""

    brightness: float
    contrast: float
    saturation: float
    hue: float
    gray: bool


def colour_factors(matrix: NDArray[np.floating]) -> ColourFactors:
    """Recover the factors from a colour matrix (3, 4); saturation and hue are 0 for a gray one.

    The offset is (1 - contrast) / 2 in every channel, and a row sums to contrast x brightness. The remainder
    is grayscale + saturation (cos(hue) still + sin(hue) quarter). Here still and quarter are the matrices of
    no hue turn and of a quarter turn, each minus the matrix of grayscale.
    """
    matrix = np.asarray(matrix, np.float64)
    contrast = float(1 - 2 * matrix[:, 3].mean())
    gain = float(matrix[:, :3].sum(axis=1).mean())
    brightness = gain / contrast if contrast else 1.0
    if np.ptp(matrix[:, :3], axis=0).max() < 1e-5 * max(abs(gain), 1e-3):
        return ColourFactors(brightness, contrast, 0.0, 0.0, True)
    gray, still, quarter = (
        colour_matrix(1, 1, 1, turn, without_colour)[:, :3].ravel()
        for turn, without_colour in ((0, True), (0, False), (0.25, False))
    )
    basis = np.stack([still - gray, quarter - gray], axis=1)
    cos, sin = np.linalg.lstsq(basis, matrix[:, :3].ravel() / gain - gray, rcond=None)[0]
    hue = math.atan2(sin, cos) / (2 * math.pi)
    return ColourFactors(brightness, contrast, math.hypot(cos, sin), hue, False)


def drawn_lines(video: VideoInfo, draws: ClipDraws, view: int) -> list[str]:
    """What was drawn for one clip, one fact per line."""
    top, left, height, width = box_in_pixels(draws.boxes[view], video.height, video.width)
    share = height * width / (video.height * video.width)
    colour = colour_factors(draws.colour[view])
    lines = [
        f"crop {width} x {height} at x {left}, y {top}",
        f"{share:.0%} of the frame, aspect {width / height:.2f}",
        f"mirrored: {'yes' if draws.flip[view] else 'no'}",
    ]
    if np.allclose(draws.colour[view], np.eye(3, 4), atol=1e-6):
        lines.append("colours: unchanged")
    else:
        lines.append(f"brightness x {colour.brightness:.2f}, contrast x {colour.contrast:.2f}")
        lines.append(
            "grayscale"
            if colour.gray
            else f"saturation x {colour.saturation:.2f}, hue {360 * colour.hue:+.0f}\N{DEGREE SIGN}"
        )
    sigma = float(draws.sigma[view])
    lines.append(f"blur: sigma {sigma:.2f} pixels" if sigma > 0 else "blur: none")
    if draws.share[view] > 0:
        lines.append(f"in training {draws.share[view]:.0%} of another scene")
    return lines
