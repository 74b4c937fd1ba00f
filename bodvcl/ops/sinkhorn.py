"""SwAV's balanced assignments and swapped prediction, over H streams at once.

Sinkhorn-Knopp runs in log space, so that small ``epsilon`` cannot overflow; the streams are a dimension of
every operation and of every reduction over ranks.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor

from bodvcl.ops.distributed import gather, world_size

__all__ = ["sinkhorn_knopp", "swapped_prediction"]


@torch.no_grad()
def sinkhorn_knopp(
    scores: Tensor,
    *,
    epsilon: float = 0.05,
    iterations: int = 3,
    valid: Tensor | None = None,
    group: dist.ProcessGroup | None = None,
) -> Tensor:
    """Soft assignments of samples to prototypes with equal use of the prototypes over the whole batch.

    Every iteration scales the prototypes to equal shares, then each sample to 1, as SwAV does.

    Args:
        scores: ``(H, N, P)`` similarity of N samples with P prototypes, floating point.
        epsilon: entropy of the assignment, > 0; the limit 0 is a hard one.
        iterations: at least 1.
        valid: ``(H, N)`` bool; False samples take no part and get zeros.
        group: ranks that share the batch, None for all that there are.

    Returns:
        ``(H, N, P)``, rows sum to 1; float32, or float64 for float64. A constant to every derivative, as
        SwAV has it.

    Raises:
        TypeError, ValueError: shapes, types or ranges that do not fit.
    """
    _check(scores, "sinkhorn_knopp", 3, "(H, N, P)", epsilon, iterations)
    if valid is not None and (valid.dtype != torch.bool or valid.shape != scores.shape[:2]):
        expected = tuple(scores.shape[:2])
        raise ValueError(
            f"sinkhorn_knopp: valid must be bool {expected}, got {valid.dtype} {tuple(valid.shape)}"
        )
    log_q = scores.detach().to(torch.promote_types(scores.dtype, torch.float32)) / epsilon
    if valid is not None:
        log_q = log_q.masked_fill(~valid[..., None], -torch.inf)
    for _ in range(iterations):
        use = _over_ranks(log_q.logsumexp(1, keepdim=True) if log_q.shape[1] else _nothing(log_q), group)
        log_q = log_q - torch.where(use == -torch.inf, 0.0, use)
        mass = log_q.logsumexp(2, keepdim=True)
        log_q = log_q - torch.where(mass == -torch.inf, 0.0, mass)
    return log_q.exp()


sinkhorn = sinkhorn_knopp
"""The first name of `sinkhorn_knopp`. In `bodvcl.ops`, ``sinkhorn`` is this module."""


def _nothing(log_q: Tensor) -> Tensor:
    return log_q.new_full((log_q.shape[0], 1, log_q.shape[2]), -torch.inf)


def _over_ranks(local: Tensor, group: dist.ProcessGroup | None) -> Tensor:
    """Log-sum-exp over the ranks of ``group``, one exchange for all streams."""
    return local if world_size(group) == 1 else gather(local[None], group=group).logsumexp(0)


def swapped_prediction(
    scores: Tensor,
    *,
    temperature: float = 0.1,
    epsilon: float = 0.05,
    iterations: int = 3,
    assign_views: int | None = None,
    valid: Tensor | None = None,
    group: dist.ProcessGroup | None = None,
) -> Tensor:
    """SwAV's loss: every view predicts the assignment of the other views of its video.

    Args:
        scores: ``(H, V, B, P)`` similarity of V views of B videos with P prototypes.
        temperature: of the predictions, > 0.
        epsilon, iterations, group: as in `sinkhorn_knopp`; each view's batch is balanced by itself.
        assign_views: only the first so many views give assignments; None: all.
        valid: ``(H, V, B)`` bool; False clips (an empty stream) give and predict nothing.

    Returns:
        ``(H,)``, mean over the pairs of a predicting and another, assigning view of a video, of this rank;
        0 where there is none. float32, or float64 for float64.

    Raises:
        TypeError, ValueError: shapes, types or ranges that do not fit; fewer than two views.
    """
    op = "swapped_prediction"
    _check(scores, op, 4, "(H, V, B, P)", epsilon, iterations)
    if not 0 < temperature < float("inf"):
        raise ValueError(f"{op}: temperature must be positive and finite, got {temperature}")
    h, views, videos, _ = scores.shape
    assign = views if assign_views is None else assign_views
    if views < 2 or not 1 <= assign <= views:
        raise ValueError(
            f"{op}: at least two views are needed and 1 to V of them assign; got V = {views} and "
            f"assign_views = {assign_views}"
        )
    if valid is None:
        valid = torch.ones(h, views, videos, dtype=torch.bool, device=scores.device)
    elif valid.dtype != torch.bool or valid.shape != scores.shape[:3]:
        expected = tuple(scores.shape[:3])
        raise ValueError(f"{op}: valid must be bool {expected}, got {valid.dtype} {tuple(valid.shape)}")
    wide = torch.promote_types(scores.dtype, torch.float32)
    given = scores.detach()[:, :assign].flatten(0, 1)
    target = sinkhorn_knopp(
        given, epsilon=epsilon, iterations=iterations, valid=valid[:, :assign].flatten(0, 1), group=group
    ).unflatten(0, (h, assign))
    log_p = (scores.to(wide) / temperature).log_softmax(-1)
    log_p = torch.where(valid[..., None], log_p, 0.0)
    others = log_p.sum(1, keepdim=True) - log_p[:, :assign]
    pairs = (valid.sum(1, keepdim=True) - 1).clamp_min(0) * valid[:, :assign]
    return -(target * others).sum((1, 2, 3)) / pairs.sum((1, 2)).clamp_min(1)


def _check(scores: Tensor, op: str, rank: int, shape: str, epsilon: float, iterations: int) -> None:
    if not isinstance(scores, Tensor) or not scores.is_floating_point():
        got = scores.dtype if isinstance(scores, Tensor) else type(scores).__name__
        raise TypeError(f"{op}: scores must be a floating-point tensor {shape}, got {got}")
    if scores.dim() != rank or scores.shape[-1] == 0:
        raise ValueError(f"{op}: expected scores {shape}, got {tuple(scores.shape)}")
    if not 0 < epsilon < float("inf"):
        raise ValueError(f"{op}: epsilon must be positive and finite, got {epsilon}")
    if iterations < 1:
        raise ValueError(f"{op}: iterations must be at least 1, got {iterations}")
