"""HDC: a spatial and a temporal sub-task at several depths of the network. A reconstruction.

It follows "Hierarchically Decoupled Spatial-Temporal Contrast" (Zhang and Crandall, WACV 2022). No code of
that paper was published. At several depths there are two contrastive sub-tasks, which differ in their
positive clips. The loss of a depth is weighted by its measured invariance. Details that the paper's abstract
leaves open are our choices. No number of that paper has been reproduced.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.functional import normalize

from bodvcl.models.encoder import VideoEncoder
from bodvcl.models.projector import FrameMLP
from bodvcl.objectives.base import ClipObjective
from bodvcl.objectives.tensors import by_video, info_nce_in_batch, row_ids
from bodvcl.ops.distributed import world_size

TASKS = ("spatial", "temporal")
AVERAGING = 0.99
"""Decay of the moving average of the invariance, per step."""
SMALLEST = 0.01
"""Lower limit of the measured invariance, so that the weight of a depth cannot stay at 0."""


class HDC(ClipObjective):
    r"""Sum over tasks of :math:`\sum_l w_l L_l`, each :math:`L_l` an InfoNCE of the embeddings of depth l.

    - ``spatial``: positives are clips of the same video with other frames. They share the appearance only.
      The two clips with equal frames are not compared.
    - ``temporal``: positives are the two clips with equal frames and different augmentations. They share the
      motion. All other clips are negatives, also those of the same video at other times.

    Each depth and task has a projector; it maps the temporal mean of the features of that depth to an
    embedding. The encoder's own projector serves the deepest depth in the spatial task.

    The weights of a task sum to 1. They are proportional to its invariance: the moving average of (mean
    cosine of positives) - (mean cosine of all clips), without gradient.

    Args:
        dims: widths of the features of the depths used, the deepest last.
        hidden: width of the projectors' hidden layers.
        embed_dim: width of an embedding.
        layers: linear layers of a projector.
        norm: whether the projectors' hidden layers have batch normalisation.
        tau: temperature.
    """

    invariance: Tensor
    measured: Tensor

    def __init__(
        self, dims: Sequence[int], hidden: int, embed_dim: int, layers: int, norm: bool, tau: float
    ) -> None:
        super().__init__()
        self.tau, self.depths = tau, len(dims)

        def heads(count: int) -> nn.ModuleList:
            return nn.ModuleList(FrameMLP(d, hidden, embed_dim, layers, norm=norm) for d in dims[:count])

        self.spatial, self.temporal = heads(self.depths - 1), heads(self.depths)
        self.register_buffer("invariance", torch.ones(len(TASKS), self.depths))
        self.register_buffer("measured", torch.ones(len(TASKS), self.depths))

    def forward(
        self, encoder: VideoEncoder, clips: Tensor, videos: Tensor, views: int
    ) -> tuple[dict[str, Tensor], Tensor]:
        stages = encoder.backbone.stages(clips)[-self.depths :]
        with torch.autocast(clips.device.type, enabled=False):
            features = [x.to(self.invariance.dtype).mean(1) for x in stages]
            spatial = [head(x) for head, x in zip((*self.spatial, encoder.project), features, strict=True)]
            temporal = [head(x) for head, x in zip(self.temporal, features, strict=True)]
            rows = row_ids(len(clips), clips.device)
            windows = by_video(rows, views)
            windows = torch.cat([windows[:, :-1], windows[:, :1]], 1).flatten()
            names = tuple(f"depth {depth + 1}" for depth in range(self.depths))
            losses = torch.stack(
                [
                    info_nce_in_batch(torch.stack(spatial), videos, windows, self.tau, names),
                    info_nce_in_batch(torch.stack(temporal), windows, rows, self.tau, names),
                ]
            )
            weights = self.invariance / self.invariance.sum(1, keepdim=True)
            weighted = (weights * losses).sum(1)
            self._measure(torch.stack([torch.stack(spatial), torch.stack(temporal)]), videos, windows, rows)
        return dict(zip(TASKS, weighted.unbind())), spatial[-1]

    @torch.no_grad()
    def _measure(self, z: Tensor, videos: Tensor, windows: Tensor, rows: Tensor) -> None:
        """Store the invariance of the embeddings ``(2, depths, N, M)`` of all processes."""
        u = normalize(z, dim=-1)
        same_video, same_window = (ids[:, None] == ids for ids in (videos, windows))
        positive = torch.stack([same_video & ~same_window, same_window & (rows[:, None] != rows)])
        cosines = (u @ u.mT * positive[:, None]).sum((-2, -1)) / positive.sum((-2, -1))[:, None]
        both = torch.cat([cosines[..., None], u.mean(-2)], -1)
        if world_size() > 1:
            dist.all_reduce(both)
            both /= world_size()
        invariance = both[..., 0] - both[..., 1:].square().sum(-1)
        self.measured.copy_(invariance.clamp_min(SMALLEST))

    @torch.no_grad()
    def after_step(self, keys: Sequence[Mapping[str, Tensor]], progress: float, taken: Tensor) -> None:
        averaged = self.invariance.lerp(self.measured, 1 - AVERAGING)
        self.invariance.copy_(torch.where(taken, averaged, self.invariance))

    def diagnostics(self) -> dict[str, Tensor]:
        weights = self.invariance / self.invariance.sum(1, keepdim=True)
        return {
            f"weight_{task}_{depth + 1}": weights[row, depth]
            for row, task in enumerate(TASKS)
            for depth in range(self.depths)
        }
