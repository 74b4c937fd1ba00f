"""The encoder as one function of clips, for formats that hold a computation."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bodvcl.config.schema import KoopmanConfig
from bodvcl.export.facts import ClipFormat
from bodvcl.export.streams import PlainStreams, why_no_streams
from bodvcl.models.backbones.base import pool_space
from bodvcl.models.encoder import VideoEncoder, mean_and_std
from bodvcl.models.streams import koopman_streams

FEATURES, POOLED, EMBEDDINGS, STATIC, DYNAMIC = "features", "pooled", "embeddings", "static", "dynamic"
INPUT = "clips"
EXAMPLES = 2
"""Clips of the batch that an export is traced with; any other number fits, too."""
ANY_BATCH = {INPUT: {0: torch.export.Dim("batch")}}
"""The dimensions that are not fixed, for PyTorch's exporters."""

Outputs = dict[str, Tensor]


class EncoderGraph(nn.Module):
    """Clips to everything that an encoder says about them, by name.

    Args:
        encoder: the encoder.
        koopman: options of the split of its embeddings. If it cannot be exported, the streams are left out.
    """

    def __init__(self, encoder: VideoEncoder, koopman: KoopmanConfig) -> None:
        super().__init__()
        self.encoder = encoder
        self.streams = None if why_no_streams(koopman) else PlainStreams(koopman)

    def forward(self, clips: Tensor) -> Outputs:
        """Outputs of normalised clips ``(N, 3, L, S, S)``.

        Returns:
            ``features (N, T, D)``, ``pooled (N, 2 D)``, ``embeddings (N, T, M)`` and, where the split can be
            exported, ``static (N, M)`` and ``dynamic (N, M)``.
        """
        features = pool_space(self.encoder.backbone.maps(clips)[-1])  # the shape is fixed: nothing to check
        embeddings = self.encoder.project(features)
        outputs = {FEATURES: features, POOLED: mean_and_std(features), EMBEDDINGS: embeddings}
        if self.streams is not None:
            outputs[STATIC], outputs[DYNAMIC] = self.streams(embeddings)
        return outputs


def eager_outputs(encoder: VideoEncoder, koopman: KoopmanConfig, clips: Tensor) -> Outputs:
    """What :class:`EncoderGraph` computes, by the code that trains and evaluates."""
    features = encoder.frames(clips)
    embeddings = encoder.project(features)
    streams = koopman_streams(embeddings, koopman, None).embeddings
    return {FEATURES: features, POOLED: mean_and_std(features), EMBEDDINGS: embeddings, **streams}


def random_clips(clip: ClipFormat, count: int, seed: int = 0) -> Tensor:
    """Clips ``(count, 3, L, S, S)`` of normal noise, float32; the frames of a clip share half of it."""
    generator = torch.Generator().manual_seed(seed)
    shape = (count, 3, clip.frames, clip.size, clip.size)
    still = torch.randn(count, 3, 1, clip.size, clip.size, generator=generator)
    return (torch.randn(shape, generator=generator) + still) / 2**0.5
