"""The backbone of a run, by its name. A new backbone is registered here."""

from __future__ import annotations

from collections.abc import Callable

from bodvcl.config.schema import ModelConfig
from bodvcl.models.backbones.base import Backbone
from bodvcl.models.backbones.resnet import ResNet18
from bodvcl.models.backbones.s3d import SeparableInception
from bodvcl.models.backbones.slow import SlowR50
from bodvcl.models.backbones.temporal import repeat_outer_frames
from bodvcl.models.backbones.tiny import Tiny
from bodvcl.models.backbones.vit import TubeletViT

BACKBONES: dict[str, Callable[[int], Backbone]] = {
    "tiny": Tiny,
    "slow_r50": lambda width: SlowR50(),
    "r3d_18": lambda width: ResNet18("r3d_18"),
    "r3d_18_thin": lambda width: ResNet18("r3d_18_thin"),
    "r2plus1d_18": lambda width: ResNet18("r2plus1d_18"),
    "r2plus1d_18_thin": lambda width: ResNet18("r2plus1d_18_thin"),
    "s3d": lambda width: SeparableInception("s3d"),
    "s3d_g": lambda width: SeparableInception("s3d_g"),
    "vit_b16": lambda width: TubeletViT(),
}
"""How each backbone is built, by the name that ``--model.backbone`` takes. The argument is ``model.width``,
which only "tiny" uses."""


def build_backbone(config: ModelConfig) -> Backbone:
    """An untrained backbone; draws its weights from PyTorch's global generator.

    Args:
        config: name of the backbone, width of the tiny one, and temporal padding.

    Raises:
        ValueError: there is no backbone of that name.
    """
    if config.backbone not in BACKBONES:
        raise ValueError(f"no backbone named {config.backbone!r}; there are: {', '.join(BACKBONES)}")
    backbone = BACKBONES[config.backbone](config.width)
    if config.temporal_padding == "repeat":
        repeat_outer_frames(backbone)
    return backbone
