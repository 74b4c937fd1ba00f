"""V-SimCLR: the other clips of the same video are positives, the clips of other videos are negatives."""

from __future__ import annotations

from torch import Tensor

from bodvcl.objectives.base import ObjectiveInput, StreamObjective
from bodvcl.objectives.tensors import info_nce_in_batch, row_ids, stacked


class SimCLR(StreamObjective):
    """InfoNCE (Eqs. 1 and 2) of each stream on its own. With the streams "static" and "dynamic" it is Eq. 22.

    Args:
        tau: temperature.
    """

    def __init__(self, tau: float = 0.1) -> None:
        super().__init__()
        self.tau = tau

    def forward(self, batch: ObjectiveInput) -> dict[str, Tensor]:
        clips = row_ids(len(batch.videos), batch.videos.device)
        losses = info_nce_in_batch(
            stacked(batch.streams), batch.videos, clips, self.tau, tuple(batch.streams)
        )
        return dict(zip(batch.streams, losses.unbind()))
