"""V-SwAV: each clip predicts the prototypes that the other clips of its video are assigned to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from bodvcl.objectives.base import ObjectiveInput, StreamObjective
from bodvcl.objectives.tensors import by_video, mean_over_ranks, nonempty, stacked
from bodvcl.ops.sinkhorn import swapped_prediction

ASSIGN_VIEWS = 2
"""Number of clips of a video that are assigned to prototypes, as in SwAV; the others only predict."""


class SwAV(StreamObjective):
    r"""Swapped prediction: the cross-entropy between one clip's softmax over prototypes and the balanced
    assignment of another clip.

    The pairs (j, k) in P are two clips of one video: clip j predicts, clip k is assigned.

    .. math:: \ell = -\frac{1}{|P|} \sum_{(j, k) \in P} \sum_p q_{kp} \log
              \frac{\exp(z_j \cdot c_p / \tau)}{\sum_{p'} \exp(z_j \cdot c_{p'} / \tau)}

    z and c are unit vectors (embeddings and prototypes). Sinkhorn-Knopp gives q, over the batch of all
    processes, separately for each clip position. The prototypes are scaled to unit length after each step.
    They get no gradient during the first share ``freeze`` of the run.

    Args:
        streams: names of the streams; each has prototypes of its own.
        dim: M, width of an embedding.
        tau: temperature.
        prototypes: number of prototypes per stream.
        epsilon: entropy regularisation of the assignments.
        iterations: iterations of Sinkhorn-Knopp.
        freeze: share of the run, in [0, 1], during which the prototypes stay as they were drawn.
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

    def forward(self, batch: ObjectiveInput) -> dict[str, Tensor]:
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
    def after_step(self, keys: Sequence[Mapping[str, Tensor]], progress: float, taken: Tensor) -> None:
        self.prototypes.copy_(torch.where(taken, normalize(self.prototypes, dim=-1), self.prototypes))
        self.frozen.copy_(torch.where(taken, progress < self.freeze, self.frozen))


def _by_view(x: Tensor, views: int) -> Tensor:
    """``(H, N, ...)`` to ``(H, views, videos, ...)``."""
    return by_video(x, views, 1).transpose(1, 2)
