"""Augmentation in two halves: crop and resize where a clip is decoded, colour for the whole batch.

All colour operations of a clip are one affine map of RGB; scaling to [0, 1] and the normalisation are
folded into it, and clipping to [0, 1] becomes clipping to the images of 0 and 1. What is left is one small
matrix product.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms.v2 import functional as vision

from bodvcl.config import AugmentConfig
from bodvcl.data.batch import ClipBatch
from bodvcl.data.clips import box_in_pixels

_PIXELS = 8  # pixels per row of the matrix product: 24 wide instead of 3
_CHUNK = 16  # clips per product on a CPU: the float copy of the input stays in the cache


def crop_resize(frames: np.ndarray | Tensor, box: np.ndarray, size: int) -> Tensor:
    """Cut one box out of all frames of a clip and resize it with antialiasing.

    Args:
        frames: uint8 (L, H, W, 3).
        box: (4,) top, left, height, width as shares of the frame.
        size: height and width of the result.

    Returns:
        uint8 (L, size, size, 3), contiguous.
    """
    planar = torch.as_tensor(frames).permute(0, 3, 1, 2)
    out = vision.resized_crop(planar, *box_in_pixels(box, *frames.shape[1:3]), [size, size], antialias=True)
    return out.permute(0, 2, 3, 1).contiguous()


def _affine(clips: Tensor, matrix: Tensor, offset: Tensor, low: float, high: float) -> Tensor:
    """clamp(matrix @ rgb + offset, low, high) per clip: uint8 (N, ..., 3) -> float32 of the same shape.

    Several pixels share a row of the product, with a block-diagonal matrix: BLAS is slow on rows of three.
    """
    count, pixels = len(clips), clips.shape[1:].numel() // 3
    block = math.gcd(_PIXELS, pixels)
    eye = torch.eye(block, dtype=matrix.dtype, device=matrix.device)
    weight = torch.einsum("ij,nkl->niljk", eye, matrix).reshape(count, 3 * block, 3 * block)
    bias = offset.repeat(1, block)[:, None]
    rows = clips.reshape(count, pixels // block, 3 * block)
    out = torch.empty(rows.shape, dtype=torch.float32, device=clips.device)
    chunk = _CHUNK if clips.device.type == "cpu" else max(count, 1)
    for start in range(0, count, chunk):
        part = slice(start, start + chunk)
        product = torch.baddbmm(bias[part], rows[part].to(torch.float32), weight[part], out=out[part])
        product.clamp_(low, high)
    return out.view(clips.shape)


def _blur(clips: Tensor, sigma: Tensor, widest: float) -> Tensor:
    """Gaussian blur of every frame, one sigma per clip, mirrored borders: float (N, L, H, W, 3) -> same."""
    count, length, height, width, _ = clips.shape
    radius = min(math.ceil(3 * widest), height - 1, width - 1)
    offsets = torch.arange(-radius, radius + 1, dtype=clips.dtype, device=clips.device)
    kernel = torch.softmax(-0.5 * (offsets / sigma[:, None]) ** 2, dim=1)
    images = clips.permute(1, 4, 0, 2, 3).reshape(length * 3, count, height, width)
    images = F.pad(images, (radius, radius, radius, radius), mode="reflect")
    images = F.conv2d(images, kernel[:, None, None, :], groups=count)
    images = F.conv2d(images, kernel[:, None, :, None], groups=count)
    return images.view(length, 3, count, height, width).permute(2, 0, 3, 4, 1)


def finish(
    batch: ClipBatch,
    augment: AugmentConfig,
    device: torch.device | str = "cpu",
    memory_format: torch.memory_format = torch.channels_last_3d,
) -> Tensor:
    """Move a batch to the device of the model; flip, colour, blur and normalise it there.

    Args:
        batch: N clips as uint8 (N, L, H, W, 3), and their drawn parameters.
        augment: gives mean, std and the widest blur; whether a clip is flipped or blurred was drawn.
        device: where the result is wanted.
        memory_format: of the result; channels_last_3d costs no copy.

    Returns:
        float32 (N, 3, L, H, W), (rgb - mean) / std with RGB in [0, 1].
    """
    clips = batch.clips.to(device, non_blocking=True)
    params = batch.params.to(device, non_blocking=True)
    flip = params.flip.view(-1, 1, 1, 1, 1)
    clips = torch.where(flip, clips.flip(3), clips)
    matrix = params.colour[:, :, :3] / (255 * augment.std)
    offset = (params.colour[:, :, 3] - augment.mean) / augment.std
    out = _affine(clips, matrix, offset, (0 - augment.mean) / augment.std, (1 - augment.mean) / augment.std)
    if augment.blur > 0:
        blurred = (params.sigma > 0).nonzero().squeeze(1)
        if len(blurred):
            out[blurred] = _blur(out[blurred], params.sigma[blurred], augment.blur_sigma[1])
    return out.permute(0, 4, 1, 2, 3).contiguous(memory_format=memory_format)
