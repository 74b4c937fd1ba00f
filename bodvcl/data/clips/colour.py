"""Colour jitter as one affine map of RGB."""

from __future__ import annotations

import math

import numpy as np

_LUMA = np.array([0.299, 0.587, 0.114])
_YIQ = np.array([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])
_RGB = np.linalg.inv(_YIQ)


def colour_matrix(
    brightness: float, contrast: float, saturation: float, hue: float, gray: bool
) -> np.ndarray:
    """Compose brightness, contrast about mid-grey, saturation, hue (a turn in YIQ) and grayscale, in order.

    Args:
        brightness, contrast, saturation: factors, 1 for no change.
        hue: turn as a share of a full circle.
        gray: replace the colour by its luma at the end.

    Returns:
        float64 (3, 4), an affine map of RGB in [0, 1].
    """
    cos, sin = math.cos(2 * math.pi * hue), math.sin(2 * math.pi * hue)
    turn = _RGB @ np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]]) @ _YIQ
    linear = turn @ (saturation * np.eye(3) + (1 - saturation) * _LUMA)
    if gray:
        linear = np.tile(_LUMA @ linear, (3, 1))
    offset = linear @ np.full(3, 0.5 * (1 - contrast))
    return np.concatenate([contrast * brightness * linear, offset[:, None]], axis=1)
