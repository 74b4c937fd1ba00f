"""The two small networks of the two-stream study."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn

WIDTH, EMBED_DIM = 16, 64


class TwoStreamNet(nn.Module):
    """Convolutions, mean over all positions (:meth:`features`), two-layer projector (forward).

    Without the projector's batch normalisation the networks learn only the simple semantics in the first
    hundreds of steps.
    """

    layout: torch.memory_format

    def __init__(self, layers: nn.Sequential, dim: int) -> None:
        super().__init__()
        self.layers = layers.to(memory_format=self.layout)
        self.projector = nn.Sequential(
            nn.Linear(dim, 2 * dim, bias=False),
            nn.BatchNorm1d(2 * dim),
            nn.ReLU(),
            nn.Linear(2 * dim, EMBED_DIM),
        )

    def features(self, x: Tensor) -> Tensor:
        """Features (N, D) of inputs (N, 3, ...): the mean over all positions."""
        maps: Tensor = self.layers(x.contiguous(memory_format=self.layout))
        return maps.float().flatten(2).mean(-1)

    def forward(self, x: Tensor) -> Tensor:
        embeddings: Tensor = self.projector(self.features(x))
        return embeddings


class StaticNet(TwoStreamNet):
    """First frames (N, 3, S, S) to embeddings (N, 64)."""

    layout = torch.channels_last

    def __init__(self) -> None:
        widths = [3, WIDTH, 2 * WIDTH, 4 * WIDTH, 4 * WIDTH]
        layers: list[nn.Module] = []
        for depth, (a, b) in enumerate(itertools.pairwise(widths)):
            kernel = 3 if depth else 5
            layers += [nn.Conv2d(a, b, kernel, 2, kernel // 2, bias=False), nn.BatchNorm2d(b), nn.ReLU()]
        super().__init__(nn.Sequential(*layers), widths[-1])


class DynamicNet(TwoStreamNet):
    """Motion (N, 3, L, S / 2, S / 2) to embeddings (N, 64)."""

    layout = torch.channels_last_3d

    def __init__(self) -> None:
        widths = [3, WIDTH, 2 * WIDTH, 4 * WIDTH, 4 * WIDTH]
        strides = [(1, 2, 2), (1, 2, 2), (2, 2, 2), (2, 1, 1)]
        layers: list[nn.Module] = []
        for stride, (a, b) in zip(strides, itertools.pairwise(widths)):
            layers += [nn.Conv3d(a, b, 3, stride, 1, bias=False), nn.BatchNorm3d(b), nn.ReLU()]
        super().__init__(nn.Sequential(*layers), widths[-1])
