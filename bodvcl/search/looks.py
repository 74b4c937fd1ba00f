"""What search compares: one unit vector for how a row looks, and one for how it moves.

*Appearance* is made of ``still`` vectors, what the encoder sees in single frames: a frame that is held has
no motion, so that none can be read from them. *Motion* is made of ``dynamic`` vectors, the stream of what
changes in a clip, without the part of them that appearance predicts: what is in the picture leaves its
trace in that stream too, and clips that look alike would be near by motion for that reason.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from bodvcl.embed.file import DYNAMIC, STILL

APPEARANCE, MOTION = "appearance", "motion"
LOOKS = (APPEARANCE, MOTION)
NEEDED = (STILL, DYNAMIC)
"""Kinds of vectors that a file must have."""

_RIDGE, _RIDGE_FEW = 1.0, 4.0
_AT_ONCE = 50_000


class Standard:
    """``(v - mean) / deviation``, with mean and deviation of the rows of a file.

    The features of a network differ little between videos, around a large mean. Without this, the cosine of
    any two videos is near 1.

    Args:
        vectors: float32 ``(rows, width)``, those of the whole file.
    """

    def __init__(self, vectors: NDArray[np.float32]) -> None:
        self.mean = vectors.mean(0, dtype=np.float64).astype(np.float32)
        deviation = vectors.std(0, dtype=np.float64)
        varies = deviation > 1e-6 * (1 + np.abs(self.mean))
        self.scale = np.divide(1, deviation, out=np.zeros_like(deviation), where=varies).astype(np.float32)

    def __call__(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Standardised ``(rows, width)``; a feature that does not vary in the file is zero."""
        standard: NDArray[np.float32] = (vectors - self.mean) * self.scale
        return standard


class Looks:
    """Makes unit vectors of vectors, as the rows of a file define them.

    Motion is ``d - s B`` of the standardised vectors s ("still") and d ("dynamic"), where B is the ridge
    regression ``(S'S / n + r I)^-1 S'D / n`` over the n rows, with r = 1 + 4 width / n. It takes out nearly
    all that is predicted by directions in which stills differ much, half along those of variance 1, and
    less from a file of few rows, to which any regression would fit.

    Args:
        vectors: kind to float32 ``(rows, width)``, those of the whole file; :data:`NEEDED` kinds are read.
    """

    def __init__(self, vectors: Mapping[str, NDArray[np.float32]]) -> None:
        self._still, self._dynamic = (Standard(vectors[kind]) for kind in NEEDED)
        rows, width = vectors[STILL].shape
        seen, told = np.zeros((width, width)), np.zeros((width, vectors[DYNAMIC].shape[1]))
        for part in _parts(rows):
            still = self._still(vectors[STILL][part])
            seen += still.T @ still
            told += still.T @ self._dynamic(vectors[DYNAMIC][part])
        ridge = (_RIDGE + _RIDGE_FEW * width / rows) * np.eye(width)
        self._told = np.linalg.solve(seen / rows + ridge, told / rows).astype(np.float32)

    def __call__(self, vectors: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
        """ "appearance" and "motion" of rows: float32 ``(rows, width)`` with rows of length 1, or of length 0
        where a row is the mean of the file."""
        units = {name: np.empty_like(vectors[kind]) for name, kind in zip(LOOKS, NEEDED)}
        for part in _parts(len(vectors[STILL])):
            still = self._still(vectors[STILL][part])
            units[APPEARANCE][part] = _unit(still)
            units[MOTION][part] = _unit(self._dynamic(vectors[DYNAMIC][part]) - still @ self._told)
        return units


def _parts(rows: int) -> Iterator[slice]:
    """Rows in parts: large files leave no room for copies of all vectors."""
    return (slice(start, start + _AT_ONCE) for start in range(0, rows, _AT_ONCE))


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    norm = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: NDArray[np.float32] = np.divide(vectors, norm, out=np.zeros_like(vectors), where=norm > 0)
    return unit
