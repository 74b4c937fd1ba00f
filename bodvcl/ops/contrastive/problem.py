"""What the routes of the contrastive operation take and give."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

NEGATIVES, POSITIVES = 0, 1
LSE, EXPECTED, TOP, SUM, COUNT = range(5)


class Problem(NamedTuple):
    """One call, checked. Keys fall into two groups per row, negatives and positives; excluded ones into none.

    query: ``(H, N, D)``; keys: ``(H, K, D)``; queue: ``(H, Q, D)`` negatives without gradient, or None.
    query_inverse, key_inverse, queue_inverse: ``(H, N)``, ``(H, K)``, ``(H, Q)`` in the accumulation type:
        factor that brings the vector to unit length (1 without normalisation), 0 for one that does not count.
    scale: ``(H,)``, one over the temperature.
    query_video, key_video, query_clip, key_clip: int64 ``(N,)`` and ``(K,)``; the clips may be None.
    normalize: whether the factors are functions of the vectors, for the gradient.
    """

    query: Tensor
    keys: Tensor
    queue: Tensor | None
    query_inverse: Tensor
    key_inverse: Tensor
    queue_inverse: Tensor | None
    scale: Tensor
    query_video: Tensor
    key_video: Tensor
    query_clip: Tensor | None
    key_clip: Tensor | None
    normalize: bool

    @property
    def wide(self) -> torch.dtype:
        """The type of sums: float32, or float64 for float64."""
        return self.scale.dtype

    def empty_rows(self) -> Tensor:
        """The table ``(5, 2, H, N)`` of a row that has seen no key."""
        h, n, _ = self.query.shape
        rows = self.scale.new_zeros(5, 2, h, n)
        rows[LSE] = -torch.inf
        rows[TOP] = -torch.inf
        return rows
