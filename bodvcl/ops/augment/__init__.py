"""Spatial augmentation of clips of bytes in one call."""

from __future__ import annotations

from bodvcl.ops.augment.api import (
    AugmentParams,
    augment_clips,
    blur_radius,
    resize_box,
)

__all__ = [
    "AugmentParams",
    "augment_clips",
    "blur_radius",
    "resize_box",
]
