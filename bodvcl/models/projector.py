"""The projector: an MLP that is applied to every frame on its own."""

from __future__ import annotations

import itertools

from torch import Tensor, nn


class FrameMLP(nn.Sequential):
    """Linear layers with ReLU between them, on the last dimension: ``(..., dim_in)`` -> ``(..., dim_out)``.

    All leading dimensions are rows: with ``norm`` the statistics of a hidden unit run over the N * T frames
    of a batch of clips ``(N, T, dim_in)``. The last layer has neither normalisation nor ReLU.

    Args:
        dim_in: width of the input, 1 or more.
        hidden: width of the hidden layers.
        dim_out: width of the output.
        layers: number of linear layers, 1 or more.
        norm: batch normalisation after each hidden linear layer, which then has no bias.
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
        rows = super().forward(features.flatten(0, -2))
        return rows.unflatten(0, features.shape[:-1])
