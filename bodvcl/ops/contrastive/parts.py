"""What InfoNCE gives for each row: parts that can be joined with those of other keys, and statistics."""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from bodvcl.ops.constants import where
from bodvcl.ops.contrastive.problem import POSITIVES

Reduction = Literal["mean", "sum", "none"]
REDUCTIONS = get_args(Reduction)


class InfoNCEStats(NamedTuple):
    """What the loss saw, for each stream: ``(H,)`` in the dtype of the loss, detached.

    Means are over contributing rows, 0 where there is none.

    Attributes:
        positive_similarity: mean over rows of the mean similarity with the positives: a cosine if normalised.
        top1: share of rows whose most similar key is a positive; a tie with a negative is a miss.
        entropy: entropy of the softmax over all keys of a row that are not excluded, in nats.
        rows: number of contributing rows.
        empty: number of valid rows with a zero vector, that is with an empty stream; 0 without normalisation.
    """

    positive_similarity: Tensor
    top1: Tensor
    entropy: Tensor
    rows: Tensor
    empty: Tensor


class InfoNCEParts(NamedTuple):
    """InfoNCE against a part of the keys, to be joined with other parts by `merge`.

    Logits are similarities over the temperature. In ``(2, H, N)`` the negatives come before the positives.

    Attributes:
        lse: ``(2, H, N)``, log-sum-exp of the logits, differentiable; -inf where there is no key.
        expected: ``(2, H, N)``, mean of the logits under their softmax; 0 where there is no key.
        top: ``(2, H, N)``, largest logit; -inf where there is no key.
        total: ``(H, N)``, sum of the positives' logits.
        count: ``(H, N)``, number of positives.
    """

    lse: Tensor
    expected: Tensor
    top: Tensor
    total: Tensor
    count: Tensor  # type: ignore[assignment]  # takes the place of tuple.count, which nobody needs here

    def contributes(self) -> Tensor:
        """``(H, N)`` bool: rows with a positive."""
        return self.lse[POSITIVES] != -torch.inf

    def loss(self) -> Tensor:
        """``(H, N)``, Eq. 1 of every row: ``log(1 + exp(lse negatives - lse positives))``.

        0 for a row without a positive.
        """
        return row_losses(self.lse)[0]

    def entropy(self) -> Tensor:
        """``(H, N)``, entropy of the softmax over both groups, in nats; 0 for a row without a key."""
        lse = self.lse.detach()
        both = torch.logaddexp(lse[0], lse[1])
        some = both != -torch.inf
        both = torch.where(some, both, 0.0)
        return torch.where(some, both - ((lse - both).exp() * self.expected).sum(0), 0.0)

    def stats(self, scale: Tensor, empty: Tensor) -> InfoNCEStats:
        """The statistics of these rows.

        Args:
            scale: ``(H,)``, one over the temperature.
            empty: ``(H,)``, number of valid rows with a zero vector.
        """
        some = self.contributes()
        rows = some.sum(-1).to(scale.dtype)

        def mean(values: Tensor) -> Tensor:
            return torch.where(some, values, 0.0).sum(-1) / rows.clamp_min(1)

        similarity = self.total / self.count.clamp_min(1) / scale[:, None]
        top1 = (self.top[POSITIVES] > self.top[1 - POSITIVES]).to(scale.dtype)
        return InfoNCEStats(mean(similarity), mean(top1), mean(self.entropy()), rows, empty)


def merge(*parts: InfoNCEParts) -> InfoNCEParts:
    """Join parts that were computed against different keys: shards of ranks, tiles, a second queue.

    Differentiable in the log-sum-exps. The result is that of one call against all keys.

    Args:
        parts: at least one, all of the same shapes.

    Returns:
        The parts of the same rows against all of the keys.

    Raises:
        ValueError: no part, or parts of different shapes.
    """
    if not parts:
        raise ValueError("merge: parts is empty; expected at least one")
    shapes = {tuple(part.lse.shape) for part in parts}
    if len(shapes) > 1:
        raise ValueError(
            f"merge: parts have the shapes {sorted(shapes)}; expected the same rows in all parts"
        )
    stacked = InfoNCEParts(*(torch.stack(column) for column in zip(*parts)))
    lse = _logsumexp(stacked.lse)
    whole = lse.detach()
    share = (stacked.lse.detach() - torch.where(whole == -torch.inf, 0.0, whole)).exp()
    return InfoNCEParts(
        lse=lse,
        expected=(share * stacked.expected).sum(0),
        top=stacked.top.amax(0),
        total=stacked.total.sum(0),
        count=stacked.count.sum(0),
    )


def row_losses(lse: Tensor) -> tuple[Tensor, Tensor]:
    """Eq. 1 of every row ``(H, N)`` from ``lse (2, H, N)``, and which rows contribute: ``(H, N)`` bool."""
    negative, positive = lse.unbind()
    some = positive != -torch.inf
    return where(some, -logsigmoid(where(some, positive, 0.0) - negative), 0.0), some


def reduced(loss: Tensor, contributes: Tensor, reduction: str) -> Tensor:
    """The losses of rows ``(H, N)`` ("none"), or ``(H,)``: their sum or mean over contributing rows."""
    if reduction == "none":
        return loss
    total = loss.sum(-1)
    return total if reduction == "sum" else total / contributes.sum(-1).clamp_min(1)


def _logsumexp(x: Tensor) -> Tensor:
    """Over the first dimension; -inf, with a zero gradient, where all are -inf."""
    some = (x != -torch.inf).any(0)
    return torch.where(some, torch.where(some, x, 0.0).logsumexp(0), -torch.inf)
