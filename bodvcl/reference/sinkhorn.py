"""SwAV's assignment and loss of one stream as its authors write them, outside log space."""

from __future__ import annotations

import torch
from torch import Tensor


def sinkhorn(scores: Tensor, epsilon: float = 0.05, iterations: int = 3) -> Tensor:
    """Assignments ``(N, P)`` of N samples to P prototypes from their similarities ``(N, P)``."""
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
    """Loss of one stream from the similarities ``(V, B, P)`` of V views of B videos; a scalar."""
    terms = []
    for a, assigning in enumerate(scores):
        target = sinkhorn(assigning.detach(), epsilon, iterations)
        for v, predicting in enumerate(scores):
            if v != a:
                terms.append(-(target * torch.log_softmax(predicting / temperature, -1)).sum(-1).mean())
    return torch.stack(terms).mean()
