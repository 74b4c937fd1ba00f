"""Augmentation frame by frame and step by step, with torchvision's operations on float64 images."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as vision


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
        sigma: standard deviation of the blur in output pixels, 0 for none.
        box: top, left, height and width of the crop in pixels; None: no crop, no resize.
        size: height and width of the result.
        mean, std: normalisation of every channel.
        radius: the window of the blur is ``2 radius + 1`` pixels wide, but no wider than ``2 size - 1``.

    Returns:
        float64 (3, size, size).
    """
    image = frame.permute(2, 0, 1).double() / 255
    if box is not None:
        image = vision.resized_crop(image, *box, [size, size], antialias=True)
    if flip:
        image = vision.horizontal_flip(image)
    colour = colour.double()
    image = torch.einsum("ij,jyx->iyx", colour[:, :3], image) + colour[:, 3, None, None]
    image = image.clamp(0, 1)
    window = 2 * min(radius, size - 1) + 1
    if sigma > 0 and window > 1:
        image = vision.gaussian_blur(image, [window, window], [sigma, sigma])
    return vision.normalize(image, [mean] * 3, [std] * 3)


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
