"""What search compares: one unit vector for how a row looks, and one for how it moves."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from bodvcl.embed.file import DYNAMIC, STATIC

APPEARANCE, MOTION = "appearance", "motion"
COMPARED = {APPEARANCE: STATIC, MOTION: DYNAMIC}
"""What is compared to the kind of vector that it is made of."""


class Standard:
    """Standardised unit vectors: the features of a network differ little between videos around a large mean,
    so that the plain cosine of any two videos is near 1.

    Args:
        vectors: float32 ``(rows, width)`` of the whole file; their mean and deviation are kept.
    """

    def __init__(self, vectors: NDArray[np.float32]) -> None:
        self.mean = vectors.mean(0, dtype=np.float64).astype(np.float32)
        deviation = vectors.std(0, dtype=np.float64)
        self.scale = (1 / np.where(deviation > 1e-6 * (1 + np.abs(self.mean)), deviation, np.inf)).astype(
            np.float32
        )

    def __call__(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """``(rows, width)`` to unit rows ``(v - mean) / deviation``; a row that is all mean stays zero."""
        standard = (vectors - self.mean) * self.scale
        norm = np.linalg.norm(standard, axis=1, keepdims=True)
        unit: NDArray[np.float32] = standard / np.where(norm > 0, norm, 1)
        return unit


def compared(
    vectors: Mapping[str, NDArray[np.float32]],
) -> tuple[dict[str, NDArray[np.float32]], dict[str, Standard]]:
    """Of the vectors of a file: the unit vectors by :data:`COMPARED`, and what made them of the vectors."""
    makers = {name: Standard(vectors[kind]) for name, kind in COMPARED.items()}
    return {name: makers[name](vectors[kind]) for name, kind in COMPARED.items()}, makers
