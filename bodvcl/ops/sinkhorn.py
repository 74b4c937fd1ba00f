"""SwAV's balanced assignments and swapped prediction, over H streams at once.

Sinkhorn-Knopp runs in log space, so that a small ``epsilon`` cannot overflow. The streams are a dimension of
every operation and of every exchange between ranks.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor

from bodvcl.ops.checks import check_positive, check_valid, described
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
    """Soft assignments of samples to prototypes, with equal use of the prototypes over the whole batch.

    Every iteration scales the prototypes to equal shares, then each sample to 1, as SwAV does.

    Args:
        scores: ``(H, N, P)``, similarity of N samples with P prototypes, floating point.
        epsilon: weight of the entropy of the assignments, > 0; towards 0 they become hard.
        iterations: number of iterations, at least 1.
        valid: ``(H, N)`` bool; False samples take no part and get zeros. None: all samples are valid.
        group: ranks that share the batch. None: all.

    Returns:
        ``(H, N, P)``, rows sum to 1; float32, or float64 for float64. Constant for every derivative, as in
        SwAV.

    Raises:
        TypeError: scores are not a floating-point tensor.
        ValueError: a shape, a range or a device that does not fit.
    """
    _check(scores, "sinkhorn_knopp", 3, "(H, N, P)", epsilon, iterations)
    check_valid("sinkhorn_knopp", valid, scores, "scores", 2)
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
    """SwAV's loss: every view predicts the assignments of the other views of its video.

    Args:
        scores: ``(H, V, B, P)``, similarity of V views of B videos with P prototypes, floating point.
        temperature: temperature of the predictions, > 0.
        epsilon: as in `sinkhorn_knopp`.
        iterations: as in `sinkhorn_knopp`; each view's batch is balanced by itself.
        assign_views: number of views, from the first on, that give assignments, 1 to V. None: all.
        valid: ``(H, V, B)`` bool; False clips (an empty stream) neither give an assignment nor predict one.
            None: all clips are valid.
        group: ranks that share the batch. None: all.

    Returns:
        ``(H,)``: mean over the videos of this rank and over pairs of their views, of which one predicts and
        the other gives the assignment; 0 where there is no pair. float32, or float64 for float64.

    Raises:
        TypeError: scores are not a floating-point tensor.
        ValueError: a shape, a range or a device that does not fit; fewer than two views.
    """
    op = "swapped_prediction"
    _check(scores, op, 4, "(H, V, B, P)", epsilon, iterations)
    check_positive(op, "temperature", temperature)
    h, views, videos, _ = scores.shape
    assign = views if assign_views is None else assign_views
    if views < 2:
        raise ValueError(
            f"{op}: scores is {tuple(scores.shape)}; expected at least two views V in (H, V, B, P)"
        )
    if not 1 <= assign <= views:
        raise ValueError(f"{op}: assign_views is {assign_views}; expected 1 to {views}, the number of views")
    check_valid(op, valid, scores, "scores", 3)
    if valid is None:
        valid = torch.ones(h, views, videos, dtype=torch.bool, device=scores.device)
    wide = torch.promote_types(scores.dtype, torch.float32)
    given = scores.detach()[:, :assign].flatten(0, 1)
    target = sinkhorn_knopp(
        given, epsilon=epsilon, iterations=iterations, valid=valid[:, :assign].flatten(0, 1), group=group
    ).reshape(h, assign, *given.shape[1:])
    log_p = (scores.to(wide) / temperature).log_softmax(-1)
    log_p = torch.where(valid[..., None], log_p, 0.0)
    others = log_p.sum(1, keepdim=True) - log_p[:, :assign]
    pairs = (valid.sum(1, keepdim=True) - 1).clamp_min(0) * valid[:, :assign]
    loss: Tensor = -(target * others).sum((1, 2, 3)) / pairs.sum((1, 2)).clamp_min(1)
    return loss


def _check(scores: Tensor, op: str, rank: int, shape: str, epsilon: float, iterations: int) -> None:
    if not isinstance(scores, Tensor) or not scores.is_floating_point():
        raise TypeError(f"{op}: scores is {described(scores)}; expected a floating-point tensor {shape}")
    if scores.dim() != rank or scores.shape[-1] == 0:
        raise ValueError(
            f"{op}: scores is {tuple(scores.shape)}; expected {shape} with at least one prototype"
        )
    check_positive(op, "epsilon", epsilon)
    if iterations < 1:
        raise ValueError(f"{op}: iterations is {iterations}; expected at least 1")
