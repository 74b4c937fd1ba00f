"""SwAV's assignment and loss of one stream as its authors write them, without logarithms."""

from __future__ import annotations

import torch
from torch import Tensor


def sinkhorn(scores: Tensor, epsilon: float = 0.05, iterations: int = 3) -> Tensor:
    """Assignments of N samples to P prototypes by Sinkhorn's iteration.

    Args:
        scores: similarities ``(N, P)``.
        epsilon: strength of the entropy term; the smaller, the harder the assignments.
        iterations: how often rows and columns are normalised in turn.

    Returns:
        assignments ``(N, P)``; every row sums to 1.
    """
    q = (scores / epsilon).exp().T
    q = q / q.sum()
    prototypes, samples = q.shape
    for _ in range(iterations):
        q = q / q.sum(1, keepdim=True) / prototypes
        q = q / q.sum(0, keepdim=True) / samples
    return (q * samples).T


def swapped_prediction(
    scores: Tensor, temperature: float = 0.1, epsilon: float = 0.05, iterations: int = 3
) -> Tensor:
    """Loss of one stream: every view predicts the assignments of every other view.

    Args:
        scores: similarities ``(V, B, P)`` of V views of B videos to P prototypes.
        temperature: that of the predictions.
        epsilon, iterations: as in `sinkhorn`.

    Returns:
        a scalar.
    """
    terms = []
    for a, assigning in enumerate(scores):
        target = sinkhorn(assigning.detach(), epsilon, iterations)
        for v, predicting in enumerate(scores):
            if v != a:
                terms.append(-(target * torch.log_softmax(predicting / temperature, -1)).sum(-1).mean())
    return torch.stack(terms).mean()
