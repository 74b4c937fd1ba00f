"""The projector: an MLP that is applied to each frame separately."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn


class FrameMLP(nn.Sequential):
    """Linear layers with ReLU between them, on the last dimension: ``(..., dim_in)`` -> ``(..., dim_out)``.

    All leading dimensions are rows. For clips ``(N, T, dim_in)`` batch normalisation uses the statistics of
    all N * T frames. The last layer has neither normalisation nor ReLU.

    Args:
        dim_in: width of the input, 1 or more.
        hidden: width of the hidden layers.
        dim_out: width of the output.
        layers: number of linear layers, 1 or more.
        norm: add batch normalisation after each hidden linear layer, which then has no bias.
    """

    def __init__(self, dim_in: int, hidden: int, dim_out: int, layers: int, *, norm: bool = False) -> None:
        widths = [dim_in] + [hidden] * (layers - 1) + [dim_out]
        modules: list[nn.Module] = []
        for depth, (a, b) in enumerate(itertools.pairwise(widths), start=1):
            last = depth == layers
            modules.append(nn.Linear(a, b, bias=last or not norm))
            if not last:
                modules += [nn.BatchNorm1d(b)] if norm else []
                modules.append(nn.ReLU(inplace=True))
        super().__init__(*modules)

    def forward(self, features: Tensor) -> Tensor:
        rows = features.flatten(0, -2)
        for layer in self:
            rows = layer(rows)
        return torch.unflatten(rows, 0, features.shape[:-1])
