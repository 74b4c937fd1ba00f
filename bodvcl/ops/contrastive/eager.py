"""The eager route: the logits as a matrix. Any device, and derivatives of any order."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize

from bodvcl.ops.constants import where
from bodvcl.ops.contrastive.problem import ContrastiveProblem


class _Matrix(NamedTuple):
    """Logits ``(H, N, K + Q)``, and which of them are negatives, and positives: ``(2, H, N, K + Q)`` bool."""

    logits: Tensor
    members: Tensor


def eager(problem: ContrastiveProblem) -> Tensor:
    """The table ``(5, 2, H, N)`` of `ContrastiveProblem`; the log-sum-exps are differentiable."""
    matrix = _matrix(problem)
    logits, members = matrix
    lse, masked = _log_sum_exps(matrix)
    with torch.no_grad():
        some = lse != -torch.inf
        kept = where(members, logits, 0.0)
        if not logits.shape[-1]:
            side = torch.stack((kept.sum(-1), lse, kept.sum(-1), kept.sum(-1)))
        else:
            top = where(some, masked.amax(-1), -torch.inf)
            expected = (masked.softmax(-1) * kept).sum(-1)
            side = torch.stack((expected, top, kept.sum(-1), members.sum(-1).to(logits.dtype)))
    return torch.cat((lse[None], side))


def eager_lse(problem: ContrastiveProblem) -> Tensor:
    """The first plane ``(2, H, N)`` of that table alone."""
    return _log_sum_exps(_matrix(problem))[0]


def _matrix(problem: ContrastiveProblem) -> _Matrix:
    present = problem.query_inverse != 0
    key_present = present if problem.key_inverse is problem.query_inverse else problem.key_inverse != 0
    query = _unit(problem.query, present, problem)
    keys = _unit(problem.keys, key_present, problem)
    same = problem.query_video[:, None] == problem.key_video
    counts = key_present[:, None, :]
    if problem.query_clip is not None and problem.key_clip is not None:
        counts = counts & (problem.query_clip[:, None] != problem.key_clip)
    if problem.queue is not None and problem.queue_inverse is not None:
        h, n, q = query.shape[0], query.shape[1], problem.queue.shape[1]
        queue_present = problem.queue_inverse != 0
        keys = torch.cat((keys, _unit(problem.queue.detach(), queue_present, problem)), 1)
        same = torch.cat((same, same.new_zeros(n, q)), 1)
        counts = torch.cat((counts.expand(h, n, -1), queue_present[:, None, :].expand(h, n, q)), 2)
    counts = counts & present[:, :, None]
    logits = problem.scale[:, None, None] * (query @ keys.mT)
    return _Matrix(logits, torch.stack((~same, same))[:, None] & counts)


def _unit(x: Tensor, present: Tensor, problem: ContrastiveProblem) -> Tensor:
    """Unit vectors; an arbitrary one where it is left out: at zero the norm has no second derivative."""
    x = x.to(problem.wide)
    return normalize(where(present[..., None], x, 1.0), dim=-1) if problem.normalize else x


def _log_sum_exps(matrix: _Matrix) -> tuple[Tensor, Tensor]:
    """``(2, H, N)`` of the logits of each group, -inf where it has none, and what they were taken of."""
    logits, members = matrix
    if not logits.shape[-1]:
        return torch.stack((logits.sum(-1),) * 2) - torch.inf, logits
    masked = where(members, logits, torch.finfo(logits.dtype).min)
    return where(members.any(-1), masked.logsumexp(-1), -torch.inf), masked
