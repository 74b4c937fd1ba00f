"""Maps on top of frames: colours, and their scale.

All maps of one run and clip are divided by their largest value, so the scale goes from 0 to "the strongest
place of this clip for this run". The units of two runs differ, so one scale for both would mean nothing.
"""

from __future__ import annotations

import matplotlib
import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

COLOURS = "inferno"
_OPAQUE = 0.75
"""How much of a frame its strongest place hides."""
_DIM = 0.8
"""Brightness that is left of the grey frame below."""


def relative(maps: Tensor) -> Tensor:
    """The maps ``(L, H, W)`` of one clip divided by their largest value; zeros stay zeros."""
    largest = maps.max()
    return maps / largest if largest > 0 else maps


def overlay(frames: NDArray[np.uint8], maps: Tensor) -> NDArray[np.uint8]:
    """Colours over grey frames: the stronger a place, the more of the colour.

    Args:
        frames: uint8 RGB ``(L, S, S, 3)``.
        maps: ``(L, h, w)`` in [0, 1]; they are scaled to the frames.

    Returns:
        uint8 RGB ``(L, S, S, 3)``.
    """
    size = frames.shape[1:3]
    weight = F.interpolate(maps[:, None], size=size, mode="bilinear", align_corners=False)[:, 0].numpy()
    grey = frames.astype(np.float32).mean(-1, keepdims=True).repeat(3, -1)
    return blended(grey, weight)


def blended(grey: NDArray[np.float32], weight: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Mix a grey picture ``(..., 3)`` from 0 to 255 with the colours of weights ``(...)`` from 0 to 1."""
    colours = 255 * matplotlib.colormaps[COLOURS](0.25 + 0.75 * weight)[..., :3]
    share = _OPAQUE * weight[..., None] ** 0.7
    mixed = (1 - share) * _DIM * grey + share * colours
    return np.asarray(mixed.round().clip(0, 255), np.uint8)


def scale_bar(width: int, height: int) -> NDArray[np.uint8]:
    """The colours from 0 to 1 over middle grey: uint8 ``(height, width, 3)``."""
    weight = np.linspace(0, 1, width, dtype=np.float32)[None].repeat(height, 0)
    return blended(np.full((height, width, 3), 128, np.float32), weight)
