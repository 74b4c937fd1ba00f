"""Spatial augmentation of clips of bytes in one call."""

from __future__ import annotations

from bodvcl.ops.augment.api import augment_clips
from bodvcl.ops.augment.eager import resize_box
from bodvcl.ops.augment.mix import MixParams, mix_scenes
from bodvcl.ops.augment.params import AugmentParams, blur_radius

__all__ = [
    "AugmentParams",
    "MixParams",
    "augment_clips",
    "blur_radius",
    "mix_scenes",
    "resize_box",
]
