"""A tiny encoder and clips for objectives that encode by themselves."""

from __future__ import annotations

import torch
from torch import Tensor

from bodvcl.config.schema import ClipConfig, DualvarConfig, HdcConfig, ModelConfig, TrainConfig
from bodvcl.engine.assemble import objective_options
from bodvcl.models.encoder import VideoEncoder, build_encoder
from bodvcl.objectives.base import ClipObjective
from bodvcl.objectives.build import build_objective

VIDEOS, FRAMES = 4, 8


def config(method: str, views: int = 3) -> TrainConfig:
    return TrainConfig(
        method=method,
        decouple="none",
        batch_size=VIDEOS,
        clip=ClipConfig(frames=FRAMES, size=16, views=views, twin=True),
        model=ModelConfig(width=4, embed_dim=6, hidden_dim=10),
        dualvar=DualvarConfig(segments=4, series_dim=5),
        hdc=HdcConfig(depths=3),
    )


def network(method: str, views: int = 3) -> tuple[VideoEncoder, ClipObjective]:
    """Encoder and objective, float64; both normalise with fixed statistics, row by row."""
    torch.manual_seed(0)
    c = config(method, views)
    encoder = build_encoder(c.model)
    return encoder.double().eval(), build_objective(method, objective_options(c), encoder).double().eval()


def clips(views: int = 3, videos: int = VIDEOS) -> Tensor:
    g = torch.Generator().manual_seed(1)
    return torch.randn(videos * views, 3, FRAMES, 16, 16, generator=g, dtype=torch.float64)


def ids(views: int = 3, videos: int = VIDEOS) -> Tensor:
    return torch.arange(videos).repeat_interleave(views)
