"""Augmentation frame by frame and step by step, on float64 images."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def augment_frame(
    frame: Tensor,
    colour: Tensor,
    flip: bool,
    sigma: float,
    box: list[int] | None,
    *,
    size: int,
    mean: float,
    std: float,
    radius: int,
) -> Tensor:
    """Crop and resize, flip, colour, blur and normalise one frame.

    Args:
        frame: uint8 (h, w, 3).
        colour: (3, 4), affine map of RGB in [0, 1].
        flip: mirror left and right.
        sigma: standard deviation of the blur in output pixels; 0: no blur.
        box: top, left, height and width of the crop in pixels, inside of the frame; None: no crop, no resize.
        size: height and width of the result.
        mean, std: normalisation of every channel.
        radius: the window of the blur is ``2 radius + 1`` pixels wide, but no wider than ``2 size - 1``.

    Returns:
        float64 (3, size, size).
    """
    image = frame.permute(2, 0, 1).double() / 255
    if box is not None:
        image = resized_crop(image, box, size)
    if flip:
        image = image.flip(-1)
    colour = colour.double()
    image = torch.einsum("ij,jyx->iyx", colour[:, :3], image) + colour[:, 3, None, None]
    image = image.clamp(0, 1)
    radius = min(radius, size - 1)
    if sigma > 0 and radius > 0:
        image = gaussian_blur(image, sigma, radius)
    return (image - mean) / std


def resized_crop(image: Tensor, box: list[int], size: int) -> Tensor:
    """The box (top, left, height, width) of a float64 image (3, h, w), as (3, size, size).

    Bilinear, with a filter that grows where the image shrinks (antialiasing).
    """
    top, left, height, width = box
    cut = image[:, top : top + height, left : left + width]
    if (height, width) == (size, size):
        return cut
    return F.interpolate(cut[None], [size, size], mode="bilinear", antialias=True, align_corners=False)[0]


def gaussian_blur(image: Tensor, sigma: float, radius: int) -> Tensor:
    """A float64 image (3, h, w) convolved with a Gaussian, cut at ``radius`` and mirrored at the edges."""
    reach = radius / math.sqrt(2.0)
    x = torch.linspace(-reach, reach, 2 * radius + 1, dtype=image.dtype, device=image.device)
    weights = x.div(sigma).pow(2).neg().softmax(0)
    kernel = (weights[:, None] * weights).expand(3, 1, -1, -1)
    padded = F.pad(image[None], [radius] * 4, mode="reflect")
    return F.conv2d(padded, kernel, groups=3)[0]


def augment_clips(
    clips: Tensor,
    colour: Tensor,
    flip: Tensor,
    sigma: Tensor,
    box: Tensor | None,
    *,
    size: int,
    mean: float,
    std: float,
    radius: int,
) -> Tensor:
    """:func:`augment_frame` for every frame of N clips (N, L, h, w, 3): float64 (N, L, 3, size, size)."""
    boxes = [None] * len(clips) if box is None else box.tolist()
    drawn = list(zip(clips, colour, flip.tolist(), sigma.tolist(), boxes))
    frames = [
        augment_frame(frame, *params, size=size, mean=mean, std=std, radius=radius)
        for clip, *params in drawn
        for frame in clip
    ]
    shape = (*clips.shape[:2], 3, size, size)
    return torch.stack(frames).view(shape) if frames else clips.new_empty(shape, dtype=torch.float64)


def mix_scenes(clips: Tensor, donor: Tensor, share: Tensor) -> Tensor:
    """Each clip with a share of its scene replaced by that of another clip.

    ``y_t = x_t + a (m_donor - m)`` with the median m over the frames of a clip, the lower one of two.

    Args:
        clips: (N, 3, L, S, S), floating point.
        donor: (N,), the clip whose scene is taken.
        share: (N,), a.

    Returns:
        float64 (N, 3, L, S, S).
    """
    clips = clips.double()
    scenes = [clip.sort(dim=1).values[:, (clip.shape[1] - 1) // 2] for clip in clips]
    out = torch.empty_like(clips)
    for n, (clip, a) in enumerate(zip(clips, share.double())):
        for t in range(clip.shape[1]):
            out[n, :, t] = clip[:, t] + a * (scenes[int(donor[n])] - scenes[n])
    return out
