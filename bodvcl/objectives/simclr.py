"""V-SimCLR: the other clips of the same video are positives, the clips of other videos negatives."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from bodvcl.ops.contrastive import info_nce


class SimCLR(nn.Module):
    """InfoNCE (Eqs. 1 and 2) of every stream by itself; with the streams "static" and "dynamic" it is Eq. 22.

    Args:
        tau: temperature.
    """

    def __init__(self, tau: float = 0.1) -> None:
        super().__init__()
        self.tau = tau

    def forward(self, streams: Mapping[str, Tensor], videos: Tensor) -> dict[str, Tensor]:
        """One scalar loss per stream.

        Args:
            streams: name to ``(N, M)``; all of one shape. A zero row (an empty stream) contributes nothing.
            videos: ``(N,)`` integers: which video a row is a clip of.
        """
        z = torch.stack(list(streams.values()))
        clips = torch.arange(len(videos), device=videos.device)
        losses = info_nce(
            z,
            z,
            query_video=videos,
            key_video=videos,
            query_clip=clips,
            key_clip=clips,
            temperature=self.tau,
            valid=z.detach().abs().amax(-1) > 0,
            streams=tuple(streams),
            check_finite=False,
        )
        return dict(zip(streams, losses.unbind()))
