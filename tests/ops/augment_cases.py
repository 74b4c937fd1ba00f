"""Clips, parameters, and the straightforward route: one operation of torchvision after the other."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as vision

from bodvcl.ops.augment import AugmentParams

MEAN, STD, RADIUS = 0.45, 0.225, 6


def case(
    count: int = 5, length: int = 2, size: int = 20, *, box: bool = False, blur: bool = True, seed: int = 0
) -> tuple[Tensor, AugmentParams]:
    """Clips of noise; colours that clip at both ends; boxes larger, smaller and thinner than the result."""
    g = torch.Generator().manual_seed(seed)
    height, width = (20, 26) if box else (size, size)
    clips = torch.randint(0, 256, (count, length, height, width, 3), dtype=torch.uint8, generator=g)
    matrix = torch.eye(3) + 0.3 * torch.randn(count, 3, 3, generator=g)
    colour = torch.cat((matrix, 0.1 * torch.randn(count, 3, 1, generator=g)), 2)
    boxes = [[0, 0, height, width], [2, 3, 6, 7], [10, 4, 10, 22], [19, 0, 1, 1], [0, 1, 4, 24]]
    return clips, AugmentParams(
        colour=colour,
        flip=torch.arange(count) % 2 == 0,
        sigma=torch.tensor([0.0, 0.3, 1.0, 2.0, 0.1])[:count] if blur else torch.zeros(count),
        box=torch.tensor(boxes)[:count] if box else None,
    )


def eager(clips: Tensor, params: AugmentParams, size: int, dtype: torch.dtype) -> Tensor:
    """(N, 3, L, S, S): the same operations in ``dtype``, clip by clip."""
    out = []
    radius = min(RADIUS, size - 1)
    for i, clip in enumerate(clips):
        images = clip.permute(0, 3, 1, 2).to(dtype) / 255
        if params.box is not None:
            images = vision.resized_crop(images, *params.box[i].tolist(), [size, size], antialias=True)
        if params.flip[i]:
            images = vision.horizontal_flip(images)
        colour = params.colour[i].to(dtype)
        images = torch.einsum("ij,tjyx->tiyx", colour[:, :3], images) + colour[:, 3, None, None]
        images = images.clamp(0, 1)
        sigma = float(params.sigma[i])
        if sigma > 0 and radius:
            images = vision.gaussian_blur(images, [2 * radius + 1] * 2, [sigma] * 2)
        out.append(vision.normalize(images, [MEAN] * 3, [STD] * 3).transpose(0, 1))
    return torch.stack(out)


def assert_close(got: Tensor, exact: Tensor, by_eager: Tensor, floor: float = 1e-6) -> None:
    """At most twice as far from the float64 truth as eager PyTorch in the same dtype, and ``floor``."""
    error = (got.double() - exact).abs().max()
    allowed = (by_eager.double() - exact).abs().max()
    assert error <= 2 * allowed + floor, f"{error:.2e}, eager {allowed:.2e}"
