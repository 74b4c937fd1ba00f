"""How much of a Grad-CAM lies on what moves: the claim of Fig. 8 as a number.

A pixel of frame t counts as moving where its grey value differs by more than :data:`THRESHOLD` from that of
the frame before or after. With M the map and m in {0, 1} the moving pixels of a clip::

    share = sum(M m) / sum(M)          area = mean(m)

A map that does not care about motion has a share near the area. Where the camera moves, everything does, and
both are near 1: the number then says nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor

THRESHOLD = 0.1
"""Difference of grey values in [0, 1] beyond which a pixel moves."""


def moving_pixels(clips: Tensor) -> Tensor:
    """Which pixels move.

    Args:
        clips: uint8 RGB ``(N, L, H, W, 3)``.

    Returns:
        Bool ``(N, L, H, W)``.
    """
    grey = clips.float().mean(-1) / 255
    changes = (grey[:, 1:] - grey[:, :-1]).abs() > THRESHOLD
    none = torch.zeros_like(changes[:, :1])
    return torch.cat([none, changes], 1) | torch.cat([changes, none], 1)


def motion_share(maps: Tensor, moving: Tensor) -> tuple[Tensor, Tensor]:
    """Share and area of each clip.

    Args:
        maps: float ``(N, L, H, W)``, not negative.
        moving: bool ``(N, L, H, W)``.

    Returns:
        Two float ``(N,)``. The share is NaN where the map is zero everywhere.
    """
    whole = maps.double().sum((1, 2, 3))
    on_moving = (maps.double() * moving).sum((1, 2, 3))
    share = torch.where(whole > 0, on_moving / whole.clamp_min(torch.finfo(whole.dtype).tiny), torch.nan)
    return share, moving.double().mean((1, 2, 3))
