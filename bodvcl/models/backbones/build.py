"""A backbone by its name."""

from __future__ import annotations

from bodvcl.config.schema import ModelConfig
from bodvcl.models.backbones.base import Backbone
from bodvcl.models.backbones.resnet import ResNet18
from bodvcl.models.backbones.s3d import SeparableInception
from bodvcl.models.backbones.slow import SlowR50
from bodvcl.models.backbones.temporal import repeat_outer_frames
from bodvcl.models.backbones.tiny import Tiny
from bodvcl.models.backbones.vit import TubeletViT


def build_backbone(config: ModelConfig) -> Backbone:
    """An untrained backbone; draws its weights from PyTorch's global generator.

    Raises:
        ValueError: no backbone of that name.
    """
    backbone = _build(config.backbone, config.width)
    if config.temporal_padding == "repeat":
        repeat_outer_frames(backbone)
    return backbone


def _build(name: str, width: int) -> Backbone:
    if name == "tiny":
        return Tiny(width)
    if name == "slow_r50":
        return SlowR50()
    if name.startswith(("r3d_18", "r2plus1d_18")):
        return ResNet18(name)
    if name in ("s3d", "s3d_g"):
        return SeparableInception(name)
    if name == "vit_b16":
        return TubeletViT()
    raise ValueError(f"no backbone named {name!r}")
