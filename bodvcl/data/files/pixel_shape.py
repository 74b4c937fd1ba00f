"""Pixels that are not square: how wide a stored picture is when it is shown."""

from __future__ import annotations

from fractions import Fraction

_ROUNDING = 0.01
"""A ratio that differs less from 1 is what is left when a picture was scaled to whole pixels."""
_MOST = 4
"""A ratio above this, or below its reciprocal, is taken for an error of the file."""


def displayed_width(stored: int, ratio: Fraction | None) -> int:
    """Width in square pixels of a picture whose pixels have another shape.

    Args:
        stored: width in stored pixels.
        ratio: width of a pixel by its height (FFmpeg's sample aspect ratio), before rotation. None or 0: the
            file does not say.

    Returns:
        ``stored * ratio``, rounded; ``stored`` where the ratio is unknown, within 1% of 1, or beyond 4 or
        1/4.
    """
    if not ratio or abs(ratio - 1) < _ROUNDING or not Fraction(1, _MOST) <= ratio <= _MOST:
        return stored
    return max(round(stored * ratio), 1)
