"""V-SimCLR: the other clips of the same video are positives, the clips of other videos negatives."""

from __future__ import annotations

from torch import Tensor

from bodvcl.objectives.base import StreamBatch, StreamObjective, info_nce_in_batch, row_ids, stacked


class SimCLR(StreamObjective):
    """InfoNCE (Eqs. 1 and 2) of every stream by itself; with the streams "static" and "dynamic" it is Eq. 22.

    Args:
        tau: temperature.
    """

    def __init__(self, tau: float = 0.1) -> None:
        super().__init__()
        self.tau = tau

    def forward(self, batch: StreamBatch) -> dict[str, Tensor]:
        clips = row_ids(len(batch.videos), batch.videos.device)
        losses = info_nce_in_batch(
            stacked(batch.streams), batch.videos, clips, self.tau, tuple(batch.streams)
        )
        return dict(zip(batch.streams, losses.unbind()))
