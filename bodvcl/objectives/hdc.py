r"""HDC-style: a spatial and a temporal sub-task at several depths of the network. A reconstruction.

After "Hierarchically Decoupled Spatial-Temporal Contrast" (Zhang and Crandall, WACV 2022), of which no code
was published: two contrastive sub-tasks whose emphasis is set by which clips are positives, at several
depths, with the depths' measured invariance as loss weights. What the abstract leaves open is chosen here;
no figure of that paper is reproduced.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.functional import normalize

from bodvcl.models.encoder import VideoEncoder
from bodvcl.models.projector import FrameMLP
from bodvcl.objectives.base import ClipObjective, info_nce_in_batch, row_ids
from bodvcl.ops.distributed import world_size

TASKS = ("spatial", "temporal")
AVERAGING = 0.99
"""Share that the moving average of the invariance keeps per step."""
SMALLEST = 0.01
"""Smallest invariance that is counted, so that no depth is lost for good."""


class HDC(ClipObjective):
    r"""Sum over tasks of :math:`\sum_l w_l L_l`, each :math:`L_l` an InfoNCE of the embeddings of depth l.

    - ``spatial``: positives are the clips of the same video that show other frames: only the appearance is
      shared. The pair of equal frames is not compared.
    - ``temporal``: positives are the two clips with equal frames, augmented apart: the motion is shared;
      negatives are all others, those of the same video at other times among them.

    Embeddings are a projector's, one per depth and task, of the temporal mean of that depth's features; the
    encoder's own projector is that of the deepest depth and the spatial task.

    The weights of a task sum to 1 and are in proportion to its invariance: the moving average of (mean cosine
    of positives) - (mean cosine of all clips), without gradient.

    Args:
        dims: widths of the features of the depths used, the deepest last.
        hidden, embed_dim, layers, norm: of the projectors.
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
            windows = rows.unflatten(0, (-1, views))
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
        """Note the invariance of embeddings ``(2, depths, N, M)`` of all processes."""
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
    def after_step(self, keys: Sequence[Mapping[str, Tensor]], progress: float) -> None:
        self.invariance.lerp_(self.measured, 1 - AVERAGING)

    def diagnostics(self) -> dict[str, Tensor]:
        weights = self.invariance / self.invariance.sum(1, keepdim=True)
        return {
            f"weight_{task}_{depth + 1}": weights[row, depth]
            for row, task in enumerate(TASKS)
            for depth in range(self.depths)
        }
