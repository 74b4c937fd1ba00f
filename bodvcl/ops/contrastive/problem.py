"""What the routes of the contrastive operations take and give."""

from __future__ import annotations

from typing import NamedTuple, get_type_hints

import torch
from torch import Tensor

NEGATIVES, POSITIVES = 0, 1
"""The two groups of keys that a row has."""
LSE, EXPECTED, TOP, SUM, COUNT = range(5)
"""Planes of the table ``(5, 2, H, N)``, for each group and row: log-sum-exp of the logits, their mean under
their softmax, the largest, their sum, and their number. The last two are filled for the positives alone."""


class ContrastiveProblem(NamedTuple):
    """One checked call. Every key of a row is a negative, a positive, or excluded.

    The operators take these fields as their arguments, in this order: `SCHEMA`.

    Attributes:
        query: ``(H, N, D)``, floating point.
        keys: ``(H, K, D)``, of the same dtype.
        queue: ``(H, Q, D)``, negatives without gradient, or None.
        query_inverse: ``(H, N)`` in the accumulation type: factor that brings the vector to unit length
            (1 without normalisation); 0 for a vector that is left out.
        key_inverse: ``(H, K)``, the same for the keys.
        queue_inverse: ``(H, Q)``, the same for the queue, or None.
        scale: ``(H,)`` in the accumulation type: 1 / tau.
        query_video: int64 ``(N,)``.
        key_video: int64 ``(K,)``.
        query_clip: int64 ``(N,)``, or None.
        key_clip: int64 ``(K,)``, or None.
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
        """The dtype of sums: float32, or float64 for float64."""
        return self.scale.dtype

    @property
    def key_count(self) -> int:
        """Number of keys that a row is compared with, K + Q."""
        return self.keys.shape[1] + (0 if self.queue is None else self.queue.shape[1])

    def without_queue(self) -> ContrastiveProblem:
        """The same problem for the derivatives, which need no queue."""
        return self._replace(queue=None, queue_inverse=None)

    def empty_rows(self) -> Tensor:
        """The table ``(5, 2, H, N)`` of rows that have seen no key."""
        h, n, _ = self.query.shape
        rows = self.scale.new_zeros(5, 2, h, n)
        rows[LSE] = -torch.inf
        rows[TOP] = -torch.inf
        return rows


_SCHEMA_TYPES = {Tensor: "Tensor", Tensor | None: "Tensor?", bool: "bool"}

SCHEMA = ", ".join(
    f"{_SCHEMA_TYPES[kind]} {name}" for name, kind in get_type_hints(ContrastiveProblem).items()
)
"""The fields of `ContrastiveProblem` as arguments of an operator."""

STREAM_DIMS = tuple(
    None if name.endswith(("video", "clip", "normalize")) else 0 for name in ContrastiveProblem._fields
)
"""For each field the dimension of the streams; None for a field that all streams share."""
