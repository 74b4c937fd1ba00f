r"""V-SwAV: each clip predicts which prototypes the other clips of its video are assigned to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from bodvcl.objectives.base import StreamBatch, StreamObjective, mean_over_ranks, nonempty, stacked
from bodvcl.ops.sinkhorn import swapped_prediction

ASSIGN_VIEWS = 2
"""Clips of a video that give assignments, as in SwAV; the others only predict."""


class SwAV(StreamObjective):
    r"""Swapped prediction: the cross-entropy of one clip's softmax over prototypes with the balanced
    assignment of another, over the pairs P of an assigning and another, predicting clip of a video.

    .. math:: \ell = -\frac{1}{|P|} \sum_{(j, k) \in P} \sum_p q_{kp} \log
              \frac{\exp(z_j \cdot c_p / \tau)}{\sum_{p'} \exp(z_j \cdot c_{p'} / \tau)}

    with unit vectors z and prototypes c, and q by Sinkhorn-Knopp over the batch of all processes, clip by
    clip. The prototypes are scaled to unit length after each step, and get no gradient in the first share
    ``freeze`` of the run.

    Args:
        streams: names; each has prototypes of its own.
        dim: M, width of an embedding.
        tau: temperature.
        prototypes: P, per stream.
        epsilon: entropy of the assignments.
        iterations: of Sinkhorn-Knopp.
        freeze: share of the run in [0, 1].
    """

    frozen: Tensor

    def __init__(
        self,
        streams: Sequence[str],
        dim: int,
        tau: float,
        prototypes: int,
        epsilon: float,
        iterations: int,
        freeze: float,
    ) -> None:
        super().__init__()
        self.tau, self.epsilon, self.iterations, self.freeze = tau, epsilon, iterations, freeze
        self.prototypes = nn.Parameter(normalize(torch.randn(len(streams), prototypes, dim), dim=-1))
        self.register_buffer("frozen", torch.tensor(freeze > 0))

    def forward(self, batch: StreamBatch) -> dict[str, Tensor]:
        z = normalize(stacked(batch.streams), dim=-1)
        prototypes = torch.where(self.frozen, self.prototypes.detach(), self.prototypes).to(z.dtype)
        scores = _by_view(z @ prototypes.mT, batch.views)
        valid = _by_view(nonempty(z), batch.views)
        mean = swapped_prediction(
            scores,
            temperature=self.tau,
            epsilon=self.epsilon,
            iterations=self.iterations,
            assign_views=ASSIGN_VIEWS,
            valid=valid,
        )
        pairs = ((valid.sum(1, keepdim=True) - 1) * valid[:, :ASSIGN_VIEWS]).sum((1, 2))
        return dict(zip(batch.streams, mean_over_ranks(mean * pairs, pairs).unbind()))

    @torch.no_grad()
    def after_step(self, keys: Sequence[Mapping[str, Tensor]], progress: float) -> None:
        self.prototypes.copy_(normalize(self.prototypes, dim=-1))
        self.frozen.fill_(progress < self.freeze)


def _by_view(x: Tensor, views: int) -> Tensor:
    """``(H, N, ...)`` to ``(H, views, videos, ...)``."""
    return x.unflatten(1, (-1, views)).transpose(1, 2)
