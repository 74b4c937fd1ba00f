"""The contrastive losses of Eqs. 1, 2, 4 and 22, one stream at a time."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity


def info_nce(clips: Tensor, alpha: float = 0.1) -> Tensor:
    """V-SimCLR's loss (Eqs. 1 and 2) of one stream, term by term.

    Args:
        clips: ``(N_bs, rho, M)``: rho clips of each of N_bs videos. A clip whose embedding is exactly zero
            has no cosine: it is left out as anchor, as positive and as negative.
        alpha: temperature, positive.

    Returns:
        The mean over the anchors that have a positive; a scalar, 0 if there is none.
    """
    videos, views, _ = clips.shape
    losses = []
    for i in range(videos):
        for j in range(views):
            anchor = clips[i, j]
            if not anchor.any():
                continue
            positives = [
                _term(anchor, clips[i, k], alpha) for k in range(views) if k != j and clips[i, k].any()
            ]
            negatives = [
                _term(anchor, clips[m, k], alpha)
                for m in range(videos)
                if m != i
                for k in range(views)
                if clips[m, k].any()
            ]
            if positives:
                numerator = torch.stack(positives).sum()
                losses.append(-torch.log(numerator / torch.stack([*positives, *negatives]).sum()))
    return torch.stack(losses).mean() if losses else clips.sum() * 0.0


def _term(u: Tensor, v: Tensor, alpha: float) -> Tensor:
    return torch.exp(u @ v / (u.norm() * v.norm()) / alpha)


def info_nce_rows(
    query: Tensor, keys: Tensor, positive: Tensor, excluded: Tensor, temperature: float | Tensor = 0.1
) -> Tensor:
    """Eq. 1 for every row of one stream, with masks in place of ids.

    Args:
        query, keys: ``(N, D)``, ``(K, D)``, floating point.
        positive, excluded: ``(N, K)`` bool; an excluded key does not count as a positive. Every row must have
            a positive.
        temperature: alpha of Eq. 1.

    Returns:
        the loss of every row, ``(N,)``.
    """
    logits = cosine_similarity(query[:, None], keys[None], dim=-1) / temperature
    log_p = logits.masked_fill(excluded, -torch.inf).log_softmax(-1)
    return -log_p.masked_fill(~positive | excluded, -torch.inf).logsumexp(-1)


def negative_cosine(prediction: Tensor, target: Tensor) -> Tensor:
    """V-BYOL's loss of every row: Eq. 4 with a minus, so that it is minimised; ``(N, D)`` to ``(N,)``."""
    return -cosine_similarity(prediction, target.detach(), dim=-1)
