"""The eager route: the logits as a matrix. Any device, and derivatives of any order."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from bodvcl.ops.contrastive.problem import ContrastiveProblem


def eager(problem: ContrastiveProblem) -> Tensor:
    """The table ``(5, 2, H, N)`` of `ContrastiveProblem`; the log-sum-exps are differentiable."""
    query = _unit(problem.query, problem.query_inverse, problem)
    keys = _unit(problem.keys, problem.key_inverse, problem)
    same = problem.query_video[:, None] == problem.key_video
    counts = (problem.key_inverse != 0)[:, None, :]
    if problem.query_clip is not None and problem.key_clip is not None:
        counts = counts & (problem.query_clip[:, None] != problem.key_clip)
    if problem.queue is not None and problem.queue_inverse is not None:
        h, n, q = query.shape[0], query.shape[1], problem.queue.shape[1]
        keys = torch.cat((keys, _unit(problem.queue.detach(), problem.queue_inverse, problem)), 1)
        same = torch.cat((same, same.new_zeros(n, q)), 1)
        queue_counts = (problem.queue_inverse != 0)[:, None, :].expand(h, n, q)
        counts = torch.cat((counts.expand(h, n, -1), queue_counts), 2)
    counts = counts & (problem.query_inverse != 0)[:, :, None]
    logits = problem.scale[:, None, None] * (query @ keys.mT)
    groups = [_group(logits, counts & ~same), _group(logits, counts & same)]
    return torch.stack(groups, 1)


def _unit(x: Tensor, inverse: Tensor, problem: ContrastiveProblem) -> Tensor:
    """Unit vectors; an arbitrary one where it is left out: at zero the norm has no second derivative."""
    x = x.to(problem.wide)
    if not problem.normalize:
        return x
    return normalize(torch.where(inverse[..., None] == 0, 1.0, x), dim=-1)


def _group(logits: Tensor, members: Tensor) -> Tensor:
    """One group's columns ``(5, H, N)``: log-sum-exp, softmax mean, maximum, sum and number of its logits."""
    some = members.any(-1)
    if not logits.shape[-1]:
        nothing = logits.sum(-1)
        return torch.stack((nothing - torch.inf, nothing, nothing - torch.inf, nothing, nothing))
    masked = logits.masked_fill(~members, torch.finfo(logits.dtype).min)
    lse = torch.where(some, masked.logsumexp(-1), -torch.inf)
    with torch.no_grad():
        kept = torch.where(members, logits, 0.0)
        top = torch.where(some, masked.amax(-1), -torch.inf)
        expected = (masked.softmax(-1) * kept).sum(-1)
        side = torch.stack((expected, top, kept.sum(-1), members.sum(-1).to(logits.dtype)))
    return torch.cat((lse[None], side))
