r"""DualVar (Zhang, She, Shen and Wang, BMVC 2021): what the segments of a clip have in common, and how they
differ.

Three losses on clips x1, x2 and x3. x3 has the frames of x1 with another augmentation:

.. math:: L = L_{clip} + L_{tc} + \tfrac12 (L_{rank}(x_1) + L_{rank}(x_3))
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize, softplus

from bodvcl.models.encoder import VideoEncoder
from bodvcl.objectives.base import ClipObjective
from bodvcl.objectives.tensors import by_video, info_nce_in_batch, row_ids

RANK_LIMIT = 5.0
"""Upper limit of (difference of cosines) / theta in the ranking loss."""


class DualVar(ClipObjective):
    r"""Clip InfoNCE, temporal-coherent loss and shuffle-rank, with equal weights.

    h is the temporal mean of the backbone's features. The projector maps h to the clip's embedding. The
    series head maps h to S segment vectors u_p of unit length.

    - ``clip``: InfoNCE of the embeddings of x1 and x2.
    - ``coherent``: InfoNCE of x1 and x2 with :math:`\sigma(U, V) = S^{-2} \sum_{p,q} u_p \cdot v_q` in place
      of the cosine.
    - ``rank``: x3 is cut into S segments. The segments are shuffled and the clip is encoded; its segment
      vectors are put back in order. Among the 2 S vectors of this clip and of x1 (or x3), the vector of the
      same segment must be the closest: the mean of :math:`\log(1 + \exp(\min((g^- - g^+) / \theta, 5)))`,
      with cosines :math:`g^+` of the same segment and :math:`g^-` of other segments.

    Args:
        dim: D, width of the backbone's features.
        segments: S, segments per clip.
        series_dim: width of a segment vector.
        tau: temperature of the first two losses.
        theta: scale of the cosines in the third loss.
    """

    extra_clips = 1

    def __init__(self, dim: int, segments: int, series_dim: int, tau: float, theta: float) -> None:
        super().__init__()
        self.segments, self.tau, self.theta = segments, tau, theta
        self.series = nn.Sequential(
            nn.Linear(dim, dim), nn.ReLU(inplace=True), nn.Linear(dim, segments * series_dim)
        )

    def forward(
        self, encoder: VideoEncoder, clips: Tensor, videos: Tensor, views: int
    ) -> tuple[dict[str, Tensor], Tensor]:
        third = by_video(clips, views)[:, -1]
        order = random_order(len(third), self.segments, clips.device)
        frames = encoder.frames(torch.cat([clips, shuffled(third, order)]))
        with torch.autocast(clips.device.type, enabled=False):
            features = frames.to(next(self.series.parameters()).dtype).mean(1)
            count = len(clips)
            z = encoder.project(features[:count])
            u = normalize(torch.unflatten(self.series(features), -1, (self.segments, -1)), dim=-1)
            whole, restored = by_video(u[:count], views), put_back(u[count:], order)
            ids = by_video(videos, views)[:, :2].flatten()
            rows = row_ids(len(ids), ids.device)
            first_two = by_video(z, views)[:, :2].flatten(0, 1)
            coherent = whole[:, :2].mean(2).flatten(0, 1)
            losses = {
                "clip": info_nce_in_batch(first_two[None], ids, rows, self.tau, ("clip",))[0],
                "coherent": info_nce_in_batch(
                    coherent[None], ids, rows, self.tau, ("coherent",), normalize=False
                )[0],
                "rank": (self._rank(whole[:, 0], restored) + self._rank(whole[:, -1], restored)) / 2,
            }
        return losses, z

    def _rank(self, u: Tensor, v: Tensor) -> Tensor:
        """Mean ranking loss between the segment vectors ``(B, S, E)`` of two clips."""
        both = torch.cat([u, v], 1)
        cosines = both @ both.mT
        partner = cosines.diagonal(self.segments, 1, 2).repeat(1, 2)
        excess = ((cosines - partner[..., None]) / self.theta).clamp_max(RANK_LIMIT)
        rows = torch.arange(2 * self.segments, device=u.device)
        others = (rows[:, None] - rows) % self.segments != 0
        terms = torch.where(others, softplus(excess), 0.0)  # [:, others] would wait for the mask
        return terms.sum() / (len(u) * 2 * self.segments * (2 * self.segments - 2))


def random_order(videos: int, segments: int, device: torch.device) -> Tensor:
    """``(videos, segments)`` int64: a random permutation in each row, from PyTorch's global generator."""
    return torch.rand(videos, segments, device=device).argsort(-1)


def shuffled(clips: Tensor, order: Tensor) -> Tensor:
    """Clips ``(B, 3, L, H, W)`` whose segment p is segment ``order[:, p]`` of the original clip."""
    segments = torch.unflatten(clips, 2, (order.shape[1], -1))
    index = order.view(len(order), 1, -1, 1, 1, 1).expand_as(segments)
    return segments.gather(2, index).flatten(2, 3)


def put_back(u: Tensor, order: Tensor) -> Tensor:
    """The segment vectors ``(B, S, E)`` of a shuffled clip, in the order of the original clip."""
    return torch.empty_like(u).scatter(1, order[..., None].expand_as(u), u)
