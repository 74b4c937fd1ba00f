r"""V-BYOL: each clip predicts the momentum encoder's embeddings of the other clips of its video."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from bodvcl.models.projector import FrameMLP
from bodvcl.objectives.base import ObjectiveInput, StreamObjective
from bodvcl.objectives.tensors import by_video, mean_over_ranks, nonempty, stacked
from bodvcl.ops.contrastive import negative_cosine


class BYOL(StreamObjective):
    r"""Minus the mean cosine of predictions and targets, over all ordered pairs of different clips (Eq. 4).

    Both encoders end with the projector, which works frame by frame. The split into streams follows. Each
    stream of the online network then has a predictor q of its own:

    .. math:: \ell = -\frac{1}{N (\rho - 1)} \sum_{i, j} \sum_{k \ne j}
              \cos\big(q(z_{ij}), \mathrm{sg}(z'_{ik})\big), \quad
              z = \mathrm{split}(f_\theta(x)), \; z' = \mathrm{split}(f_{\theta_m}(x))

    A zero row (an empty stream) counts in the predictor's batch statistics, without gradient, and nowhere
    else.

    Args:
        streams: names of the streams; each has a predictor of its own.
        dim: M, width of an embedding.
        hidden: width of the predictor's hidden layer.
        momentum: momentum of the momentum encoder at the start of the run.
    """

    def __init__(self, streams: Sequence[str], dim: int, hidden: int, momentum: float) -> None:
        super().__init__()
        self.momentum = momentum
        self.predictor = nn.ModuleDict({name: FrameMLP(dim, hidden, dim, 2, norm=True) for name in streams})

    def forward(self, batch: ObjectiveInput) -> dict[str, Tensor]:
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
        prediction: Tensor = predictor(z.to(next(predictor.parameters()).dtype))
        return prediction


def _turned(z: Tensor, views: int, shift: int) -> Tensor:
    """``(H, N, M)``: the row of clip j becomes the row of clip ``j + shift`` (mod rho) of the same video."""
    return by_video(z, views, 1).roll(-shift, 2).flatten(1, 2)
