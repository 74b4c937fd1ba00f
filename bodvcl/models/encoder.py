"""Backbone and projector: clips to per-frame embeddings."""

from __future__ import annotations

import itertools

from torch import Tensor, nn

from bodvcl.config import ModelConfig
from bodvcl.models.tiny import TinyBackbone


class VideoEncoder(nn.Module):
    """``f_theta``: one embedding per frame.

    Args:
        backbone: maps clips ``(N, 3, L, H, W)`` to per-frame features ``(N, T, D)`` and has an attribute
            ``dim`` = D.
        projector: maps the last dimension D to M, frame by frame.
    """

    def __init__(self, backbone: nn.Module, projector: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.projector = projector

    def frames(self, clips: Tensor) -> Tensor:
        """Per-frame backbone features ``(N, T, D)`` of clips ``(N, 3, L, H, W)``, for downstream use."""
        return self.backbone(clips)

    def forward(self, clips: Tensor) -> Tensor:
        """Per-frame embeddings ``(N, T, M)``: what the Koopman operator is fitted on."""
        return self.projector(self.frames(clips))


def build_encoder(config: ModelConfig) -> VideoEncoder:
    """An untrained encoder; draws its weights from PyTorch's global generator."""
    backbone = TinyBackbone(config.width)
    return VideoEncoder(
        backbone, _mlp(backbone.dim, config.hidden_dim, config.embed_dim, config.projector_layers)
    )


def _mlp(dim_in: int, hidden: int, dim_out: int, layers: int) -> nn.Sequential:
    widths = [dim_in] + [hidden] * (layers - 1) + [dim_out]
    modules: list[nn.Module] = []
    for a, b in itertools.pairwise(widths):
        modules += [nn.Linear(a, b), nn.ReLU(inplace=True)]
    return nn.Sequential(*modules[:-1])
