"""Backbone and projector: clips to per-frame embeddings."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bodvcl.config.schema import ModelConfig
from bodvcl.models.backbones.base import Backbone
from bodvcl.models.backbones.build import build_backbone
from bodvcl.models.backbones.weights import load_pretrained
from bodvcl.models.projector import FrameMLP


class VideoEncoder(nn.Module):
    """``f_theta``: one embedding per frame.

    Args:
        backbone: maps clips ``(N, 3, L, H, W)`` to per-frame features ``(N, T, D)``.
        projector: maps features ``(N, T, D)`` to embeddings ``(N, T, M)``, frame by frame.
    """

    def __init__(self, backbone: Backbone, projector: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.projector = projector

    def frames(self, clips: Tensor) -> Tensor:
        """Per-frame features ``(N, T, D)`` of clips ``(N, 3, L, H, W)``, for downstream tasks."""
        features: Tensor = self.backbone(clips)
        return features

    def project(self, features: Tensor) -> Tensor:
        """Per-frame embeddings ``(N, T, M)`` of per-frame features ``(N, T, D)``."""
        embeddings: Tensor = self.projector(features)
        return embeddings

    def forward(self, clips: Tensor) -> Tensor:
        """Per-frame embeddings ``(N, T, M)`` of clips ``(N, 3, L, H, W)``; the Koopman operator is fitted to
        them."""
        return self.project(self.frames(clips))

    def head_names(self) -> frozenset[str]:
        """Names of the projector's parameters, as in ``named_parameters()`` of the encoder."""
        return frozenset(f"projector.{name}" for name, _ in self.projector.named_parameters())


def mean_and_std(frames: Tensor) -> Tensor:
    """What a clip shows and how it changes: ``(N, 2 D)``, the mean over time of its features ``(N, T, D)``,
    then their standard deviation over time."""
    return torch.cat([frames.mean(1), frames.std(1, correction=0)], -1)


def build_encoder(config: ModelConfig) -> VideoEncoder:
    """An untrained encoder; draws its weights from PyTorch's global generator.

    ``config.weights`` is ignored: it is not needed when loading a bodvcl checkpoint.
    :func:`initial_encoder` reads it.
    """
    backbone = build_backbone(config)
    projector = FrameMLP(
        backbone.dim,
        config.hidden_dim,
        config.embed_dim,
        config.projector_layers,
        norm=config.projector_norm,
    )
    return VideoEncoder(backbone, projector)


def initial_encoder(config: ModelConfig) -> VideoEncoder:
    """The encoder that training starts from: untrained, or with a backbone that has ``config.weights``.

    Raises:
        CheckpointError: the weights cannot be read, or belong to another backbone.
    """
    encoder = build_encoder(config)
    if config.weights is not None:
        load_pretrained(encoder.backbone, config.weights)
    return encoder
