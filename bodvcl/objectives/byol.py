r"""V-BYOL: each clip predicts what the momentum encoder makes of the other clips of its video."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from bodvcl.models.projector import FrameMLP
from bodvcl.objectives.base import StreamBatch, StreamObjective, mean_over_ranks, nonempty, stacked
from bodvcl.ops.contrastive import negative_cosine


class BYOL(StreamObjective):
    r"""Minus the mean cosine of predictions and targets, over all ordered pairs of different clips (Eq. 4).

    Both encoders end with the projector, frame by frame; the split comes next; the predictor q is applied to
    the online network's streams, each with its own:

    .. math:: \ell = -\frac{1}{N (\rho - 1)} \sum_{i, j} \sum_{k \ne j}
              \cos\big(q(z_{ij}), \mathrm{sg}(z'_{ik})\big), \quad
              z = \mathrm{split}(f_\theta(x)), \; z' = \mathrm{split}(f_{\theta_m}(x))

    A zero row enters the predictor's batch statistics, without a gradient, and nothing else.

    Args:
        streams: names; each has a predictor of its own.
        dim: M, width of an embedding.
        hidden: width of the predictor's hidden layer.
        momentum: of the momentum encoder at the start.
    """

    def __init__(self, streams: Sequence[str], dim: int, hidden: int, momentum: float) -> None:
        super().__init__()
        self.momentum = momentum
        self.predictor = nn.ModuleDict({name: FrameMLP(dim, hidden, dim, 2, norm=True) for name in streams})

    def forward(self, batch: StreamBatch) -> dict[str, Tensor]:
        assert batch.targets is not None
        prediction = torch.stack([self._predict(name, z) for name, z in batch.streams.items()])
        target = stacked(batch.targets).to(prediction.dtype)
        others = torch.cat([_turned(target, batch.views, shift) for shift in range(1, batch.views)], 1)
        valid = nonempty(stacked(batch.streams)).repeat(1, batch.views - 1) & nonempty(others)
        total = negative_cosine(
            prediction.repeat(1, batch.views - 1, 1), others, valid=valid, reduction="sum"
        )
        return dict(zip(batch.streams, mean_over_ranks(total, valid.sum(-1)).unbind()))

    def _predict(self, name: str, z: Tensor) -> Tensor:
        predictor = self.predictor[name]
        z = torch.where(nonempty(z)[:, None], z, z.detach())
        return predictor(z.to(next(predictor.parameters()).dtype))


def _turned(z: Tensor, views: int, shift: int) -> Tensor:
    """``(H, N, M)`` whose row of clip j is the row of clip ``j + shift`` (mod rho) of the same video."""
    return z.unflatten(1, (-1, views)).roll(-shift, 2).flatten(1, 2)
