"""Augmentation in PyTorch operations, clip by clip, in pieces that stay in a processor's cache."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from bodvcl.ops.augment.params import AugmentParams

_PIXELS = 8  # pixels per row of the matrix product: 24 wide instead of 3, which BLAS is slow at
_PIECE = 2**18  # numbers per piece: one megabyte
_NO_WEIGHT = 1e-9  # a tap of the blur with less weight changes nothing in float32


def resize_box(frames: Tensor, box: Sequence[int], size: int | tuple[int, int]) -> Tensor:
    """Cut one box out of all frames and resize it with antialiasing, rounding to bytes as torchvision does.

    Args:
        frames: ``(L, h, w, 3)`` uint8.
        box: top, left, height, width in pixels, inside the frame.
        size: height and width of the result in pixels; one number: both.

    Returns:
        ``(L, height, width, 3)`` uint8.
    """
    from torchvision.transforms.v2 import functional as vision  # a second of imports that only a box needs

    planar = frames.permute(0, 3, 1, 2)
    shape = (size, size) if isinstance(size, int) else size
    resized: Tensor = vision.resized_crop(planar, *box, list(shape), antialias=True)
    return resized.permute(0, 2, 3, 1)


def augment(
    clips: Tensor,
    params: AugmentParams,
    size: int,
    mean: float,
    std: float,
    dtype: torch.dtype,
    radius: int,
) -> Tensor:
    """Augmented clips ``(N, L, size, size, 3)``, contiguous.

    Arguments as in `bodvcl.ops.augment_clips`, checked there. A box is resized in bytes, with their rounding;
    the rest is float32.
    """
    count, length = clips.shape[:2]
    low, high = (0 - mean) / std, (1 - mean) / std
    weight, bias = _rows(params, mean, std, math.gcd(_PIXELS, size * size))
    sigma, flip = params.sigma.tolist(), params.flip.tolist()
    boxes: list[list[int]] | None = None if params.box is None else params.box.tolist()
    radius = min(radius, size - 1)
    step = max(1, _PIECE // (3 * size * size))
    out = torch.empty((count, length, size, size, 3), dtype=dtype, device=clips.device)
    for i in range(count):
        taps = _taps(sigma[i], radius)
        for start in range(0, length, step):
            piece = clips[i, start : start + step]
            if boxes is not None:
                piece = resize_box(piece, boxes[i], size)
            if flip[i]:
                piece = piece.flip(2)
            rows = piece.reshape(-1, weight.shape[-1]).to(torch.float32)
            target = out[i, start : start + step]
            direct = target.view(rows.shape) if not taps and dtype == torch.float32 else None
            image = torch.addmm(bias[i], rows, weight[i], out=direct).clamp_(low, high).view(piece.shape)
            if taps:
                _blur(image, taps, target)
            elif direct is None:
                target.copy_(image)
    return out


def _rows(params: AugmentParams, mean: float, std: float, pixels: int) -> tuple[Tensor, Tensor]:
    """The map from bytes to normalised colours for rows of several pixels: (N, 3p, 3p) and (N, 1, 3p)."""
    colour = params.colour.to(torch.float32)
    eye = torch.eye(pixels, device=colour.device)
    matrix, offset = colour[:, :, :3] / (255 * std), (colour[:, :, 3] - mean) / std
    weight = torch.einsum("ij,nkl->niljk", eye, matrix).reshape(-1, 3 * pixels, 3 * pixels)
    return weight, offset.repeat(1, pixels)[:, None]


def _taps(sigma: float, radius: int) -> list[float]:
    """Weights of the blur at distances 0, 1, ..., as far as they change anything; empty for no blur."""
    if sigma <= 0 or radius == 0:
        return []
    half = [math.exp(-0.5 * (d / sigma) ** 2) for d in range(radius + 1)]
    total = 2 * sum(half) - 1
    return [w / total for w in half if w / total > _NO_WEIGHT]


def _blur(images: Tensor, taps: list[float], out: Tensor) -> None:
    """Blur (L, H, W, 3) along height and width with mirrored borders, into ``out``, which may be narrower."""
    rows = _weighted_sum(images, taps, 1, torch.empty_like(images))
    if out.dtype == images.dtype:
        _weighted_sum(rows, taps, 2, out)
    else:
        out.copy_(_weighted_sum(rows, taps, 2, torch.empty_like(images)))


def _weighted_sum(x: Tensor, taps: list[float], axis: int, out: Tensor) -> Tensor:
    """Symmetric filter along one axis as a sum of shifted copies, into ``out``."""
    reach, size = len(taps) - 1, x.shape[axis]
    before = x.narrow(axis, 1, reach).flip(axis)
    after = x.narrow(axis, size - 1 - reach, reach).flip(axis)
    padded = torch.cat((before, x, after), axis)
    torch.mul(padded.narrow(axis, reach, size), taps[0], out=out)
    for distance, weight in enumerate(taps[1:], start=1):
        out.add_(padded.narrow(axis, reach - distance, size), alpha=weight)
        out.add_(padded.narrow(axis, reach + distance, size), alpha=weight)
    return out
