"""V-MoCo: positives come from the momentum encoder, negatives from a queue of its earlier keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from bodvcl.objectives.base import ObjectiveInput, StreamObjective
from bodvcl.objectives.queue import KeyQueue
from bodvcl.objectives.tensors import mean_over_ranks, nonempty, stacked
from bodvcl.ops.contrastive import InfoNCEParts, info_nce_parts, merge


class MoCo(StreamObjective):
    """InfoNCE (Eqs. 1 and 2) of each clip against keys of the momentum encoder.

    The positives of clip j are the keys of the other clips of its video, the negatives are the queue. Keys of
    the other videos of the batch enter the queue after the step. While the queue is empty, the loss is 0.

    Args:
        streams: names of the streams; each has a queue of its own.
        dim: M, width of an embedding.
        tau: temperature.
        queue: number of keys that are kept per stream.
        momentum: momentum of the momentum encoder at the start of the run.
    """

    def __init__(self, streams: Sequence[str], dim: int, tau: float, queue: int, momentum: float) -> None:
        super().__init__()
        self.streams, self.tau, self.momentum = tuple(streams), tau, momentum
        self.queue = KeyQueue(len(self.streams), queue, dim)

    def forward(self, batch: ObjectiveInput) -> dict[str, Tensor]:
        assert batch.targets is not None
        z, keys = stacked(batch.streams), stacked(batch.targets)
        parts = merge(self._positives(z, keys, batch.views), self._negatives(z, batch.videos))
        count = (nonempty(z) & parts.contributes()).sum(-1)
        losses = mean_over_ranks(parts.loss().sum(-1), count)
        return dict(zip(batch.streams, losses.unbind()))

    def after_step(self, keys: Sequence[Mapping[str, Tensor]], progress: float, taken: Tensor) -> None:
        for part in keys:
            self.queue.enqueue(stacked(part), taken)

    def diagnostics(self) -> dict[str, Tensor]:
        return {"queue_filled": self.queue.filled()}

    def _positives(self, z: Tensor, keys: Tensor, views: int) -> InfoNCEParts:
        """Each video on its own: ``H * B`` comparisons of rho rows with rho keys."""
        streams = z.shape[0]
        rows = torch.arange(views, device=z.device)
        same = torch.zeros_like(rows)
        parts = info_nce_parts(
            z.reshape(-1, views, z.shape[-1]),
            keys.reshape(-1, views, z.shape[-1]),
            query_video=same,
            key_video=same,
            query_clip=rows,
            key_clip=rows,
            temperature=self.tau,
            check_finite=False,
        )
        return InfoNCEParts(*(torch.unflatten(x, -2, (streams, -1)).flatten(-2) for x in parts))

    def _negatives(self, z: Tensor, videos: Tensor) -> InfoNCEParts:
        return info_nce_parts(
            z,
            z[:, :0],
            query_video=videos,
            key_video=videos[:0],
            queue=self.queue.keys.to(z.dtype),
            temperature=self.tau,
            streams=self.streams,
            check_finite=False,
        )
