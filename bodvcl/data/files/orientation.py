"""How stored pictures must be turned and mirrored, from the display matrix of a file.

A display matrix (ISO/IEC 14496-12, FFmpeg's `AV_FRAME_DATA_DISPLAYMATRIX`) maps the place (x, y) of a stored
pixel, y down, to (a x + c y + t, b x + d y + u) on the screen. It is nine numbers: a, b, 0, c, d, 0, t, u, 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

_SINGULAR = 1e-4
"""A matrix is ignored if the picture would fill less than this share of its bounding box."""


def orientation(matrix: Sequence[int] | np.ndarray | None) -> tuple[int, bool]:
    """The nearest of the eight ways to show a picture: four turns, each mirrored or not.

    Scale and shift are ignored. Other angles are rounded to the nearest quarter turn. A matrix that reduces
    the picture to a point or a line is ignored.

    Args:
        matrix: the nine numbers, row by row, in any unit. None: the file has no matrix.

    Returns:
        (rotation, mirrored): mirror left and right if `mirrored`, then turn counter-clockwise by `rotation`
        degrees: 0, 90, 180 or 270.
    """
    if matrix is None:
        return 0, False
    a, b, c, d = (float(matrix[place]) for place in (0, 1, 3, 4))
    determinant = a * d - b * c
    if abs(determinant) <= _SINGULAR * (a * a + b * b + c * c + d * d):
        return 0, False
    mirrored = determinant < 0
    if mirrored:  # what is left after a first mirror, x to -x
        a, b = -a, -b
    return round(math.degrees(math.atan2(c - b, a + d)) / 90) % 4 * 90, mirrored


def upright(image: np.ndarray, rotation: int, mirrored: bool) -> np.ndarray:
    """A stored picture (H, W, ...) turned and mirrored for display, as a view. See :func:`orientation`."""
    return np.rot90(image[:, ::-1] if mirrored else image, rotation // 90)
