"""Contrast against the keys of every rank, with the gradient returned to the rank that owns the key.

Averaged over ranks, as DistributedDataParallel averages, losses and gradients are those of one rank with the
whole batch. Works with any backend of ``torch.distributed``; without a process group there is one rank.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.distributed as dist
from torch import Tensor

from bodvcl.ops.contrastive import info_nce
from bodvcl.ops.contrastive.checks import one_of
from bodvcl.ops.transforms import concrete, outer_tangents

__all__ = ["gather", "info_nce_gathered", "world_size"]


def world_size(group: dist.ProcessGroup | None = None) -> int:
    """Ranks of ``group`` (None: all); 1 where ``torch.distributed`` is not initialised."""
    return dist.get_world_size(group) if dist.is_available() and dist.is_initialized() else 1


class _Exchange(torch.autograd.Function):
    """An exchange between ranks along the first dimension of a tensor."""

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:
        ctx.group = inputs[1]

    @classmethod
    def vmap(cls, info, in_dims, x: Tensor, group: dist.ProcessGroup | None) -> tuple[Tensor, int]:
        return cls.apply(x.movedim(in_dims[0], -1), group), x.dim() - 1


class _Linear(_Exchange):
    """The tangent of an exchange is the exchange of the tangent. The compiler takes no rule for it."""

    @classmethod
    def jvp(cls, ctx, tangent: Tensor, _: None) -> Tensor:
        with outer_tangents():
            return cls.apply(tangent, ctx.group)


class _Gather(_Exchange):
    """All-gather; the gradient is summed over ranks and cut into their shares."""

    @staticmethod
    def forward(x: Tensor, group: dist.ProcessGroup | None) -> Tensor:
        out = x.new_empty(x.shape[0] * world_size(group), *x.shape[1:])
        dist.all_gather_into_tensor(out, x.contiguous(), group)
        return out

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None]:
        share = _SumShare if torch.compiler.is_compiling() else _EagerSumShare
        return share.apply(grad, ctx.group), None


class _EagerGather(_Linear, _Gather):
    """All-gather for every transform."""


class _SumShare(_Exchange):
    """This rank's share of the sum over ranks; the gradient is gathered."""

    @staticmethod
    def forward(x: Tensor, group: dist.ProcessGroup | None) -> Tensor:
        rows = x.shape[0] // world_size(group)
        if dist.get_backend(group) == "nccl":
            out = x.new_empty(rows, *x.shape[1:])
            dist.reduce_scatter_tensor(out, x.contiguous(), group=group)
            return out
        x = x.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(x, group=group)
        return x.narrow(0, dist.get_rank(group) * rows, rows)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None]:
        return _gather(grad, ctx.group), None


class _EagerSumShare(_Linear, _SumShare):
    """This rank's share of the sum for every transform."""


def _gather(x: Tensor, group: dist.ProcessGroup | None) -> Tensor:
    """All-gather along the first dimension, for eager mode or for the compiler."""
    return (_Gather if torch.compiler.is_compiling() else _EagerGather).apply(x, group)


def gather(x: Tensor, dim: int = 0, group: dist.ProcessGroup | None = None) -> Tensor:
    """The tensors of all ranks, concatenated along ``dim`` in the order of ranks; differentiable.

    Args:
        x: any shape, the same on every rank (`info_nce_gathered` checks; here the backend may hang or fail).

    Returns:
        ``dim`` grown by the number of ranks. The gradient that arrives at ``x`` is the sum over ranks. Every
        rank must take the same derivatives in the same order: each is an exchange.
    """
    if world_size(group) == 1:
        return x
    return _gather(x.movedim(dim, 0), group).movedim(0, dim)


def _check_equal(rows: Tensor, group: dist.ProcessGroup | None) -> None:
    counts = concrete(gather(rows, group=group)).tolist()
    if len(set(counts)) > 1:
        raise ValueError(
            f"info_nce_gathered: every rank needs the same number of rows, got {counts} by rank: drop the "
            "last, incomplete batch"
        )


def info_nce_gathered(
    query: Tensor,
    keys: Tensor,
    *,
    video: Tensor,
    clip: Tensor | None = None,
    valid: Tensor | None = None,
    group: dist.ProcessGroup | None = None,
    reduction: Literal["mean", "sum"] = "mean",
    **options: object,
) -> Tensor:
    """`bodvcl.ops.contrastive.info_nce` of the rows of this rank against the keys of all ranks.

    Args:
        query, keys: ``(H, N, D)`` of this rank, row by row of the same clips (``keys is query`` is common),
            N the same on every rank.
        video, clip: ``(N,)`` integers, of rows and keys alike, unique over all ranks: equal videos are
            positives, equal clips are excluded.
        valid: ``(H, N)`` bool; False rows count neither as query nor as key. Needs normalisation.
        reduction: "mean": over ranks, the average of the returned losses is the mean over all contributing
            rows; "sum": the average is their sum.
        options: temperature, queue, normalize, streams, check_finite, precision, backend of `info_nce`.

    Returns:
        ``(H,)``, one loss per stream, which differs between ranks.

    Raises:
        ValueError: as `info_nce`; ranks with different numbers of rows.
    """
    one_of("info_nce_gathered", "reduction", reduction, ("mean", "sum"))
    ranks = world_size(group)
    if ranks > 1:
        _check_equal(torch.tensor([query.shape[1]], device=query.device), group)
    if valid is not None:
        if not options.get("normalize", True):
            raise ValueError("info_nce_gathered: valid needs normalize=True: a left-out key is a zero vector")
        keys = torch.where(valid[..., None], keys, 0.0)
    rows, stats = info_nce(
        query,
        gather(keys, 1, group),
        query_video=video,
        key_video=gather(video, 0, group),
        query_clip=clip,
        key_clip=None if clip is None else gather(clip, 0, group),
        valid=valid,
        reduction="none",
        return_stats=True,
        **options,  # type: ignore[arg-type]
    )
    total = rows.sum(-1) * ranks
    if reduction == "sum":
        return total
    count = gather(stats.rows[None], group=group).sum(0)
    return total / count.clamp_min(1)
