"""A small spatio-temporal backbone that keeps time, for tests and for the built-in data."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class TinyBackbone(nn.Module):
    """Four 3D convolutions with spatial stride 2 and temporal stride 1.

    Input ``(N, 3, L, H, W)``, output ``(N, L, dim)`` with ``dim = 4 * width``: one feature per frame,
    averaged over space only. H and W of 16 and more.

    At both ends of a clip the outer frame is repeated, not padded with zeros: a clip of one repeated frame
    has the same feature in every frame, and what changes along a clip is what moves in it.

    Args:
        width: channels of the first layer; the others have 2, 4 and 4 times as many.
    """

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.dim = 4 * width
        self.layers = nn.Sequential(
            *_block(3, width, kernel=(1, 5, 5)),
            *_block(width, 2 * width, kernel=(3, 3, 3)),
            *_block(2 * width, 4 * width, kernel=(3, 3, 3)),
            *_block(4 * width, 4 * width, kernel=(3, 3, 3)),
        )

    def forward(self, clips: Tensor) -> Tensor:
        return self.layers(clips).mean((-2, -1)).transpose(1, 2)


class RepeatEnds(nn.Module):
    """Repeats the first and the last frame ``count`` times: ``(N, C, L, H, W)`` -> ``L + 2 count`` frames."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x[:, :, :1]] * self.count + [x] + [x[:, :, -1:]] * self.count, dim=2)


def _block(channels_in: int, channels_out: int, kernel: tuple[int, int, int]) -> list[nn.Module]:
    time, height, width = (k // 2 for k in kernel)
    conv = nn.Conv3d(
        channels_in, channels_out, kernel, stride=(1, 2, 2), padding=(0, height, width), bias=False
    )
    ends = [RepeatEnds(time)] if time else []
    return [*ends, conv, nn.BatchNorm3d(channels_out), nn.ReLU(inplace=True)]
