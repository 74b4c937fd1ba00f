"""Contrast against the keys of every rank, with the gradient returned to the rank that owns the key.

Averaged over ranks, as DistributedDataParallel averages, losses and gradients are those of one rank with the
whole batch. Works with any backend of ``torch.distributed``; without a process group there is one rank.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor

from bodvcl.ops.checks import capturing, one_of
from bodvcl.ops.contrastive.api import Backend, info_nce
from bodvcl.ops.contrastive.prepare import Precision
from bodvcl.ops.transforms import VmapInfo, concrete, outer_tangents

__all__ = ["gather", "info_nce_gathered", "sum_over_ranks", "world_size"]


def world_size(group: dist.ProcessGroup | None = None) -> int:
    """Number of ranks.

    Args:
        group: the ranks that are counted. None: all.

    Returns:
        At least 1; 1 where ``torch.distributed`` is not initialised.
    """
    return dist.get_world_size(group) if dist.is_available() and dist.is_initialized() else 1


class _Exchange(torch.autograd.Function):
    """An exchange between ranks along the first dimension of a tensor."""

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.group = inputs[1]

    @classmethod
    def vmap(
        cls,
        info: VmapInfo,
        in_dims: tuple[int, None],
        x: Tensor,
        group: dist.ProcessGroup | None,
    ) -> tuple[Tensor, int]:
        return cls.apply(x.movedim(in_dims[0], -1), group), x.dim() - 1


class _Linear(_Exchange):
    """An exchange whose tangent is the exchange of the tangent. The compiler refuses such a rule."""

    @classmethod
    def jvp(cls, ctx: Any, tangent: Tensor, _: None) -> Tensor:
        with outer_tangents():
            exchanged: Tensor = cls.apply(tangent, ctx.group)
            return exchanged


class _Gather(_Exchange):
    """All-gather; the gradient is summed over ranks and cut into their shares."""

    @staticmethod
    def forward(x: Tensor, group: dist.ProcessGroup | None) -> Tensor:
        out = x.new_empty(x.shape[0] * world_size(group), *x.shape[1:])
        if hasattr(dist, "all_gather_single"):
            dist.all_gather_single(out, x.contiguous(), group)
        else:  # its name before PyTorch 2.14, which warns of it
            dist.all_gather_into_tensor(out, x.contiguous(), group)
        return out.view_as(out)  # not `out`: compiled by PyTorch 2.11, its gradient would be 0

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
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
            if hasattr(dist, "reduce_scatter_single"):
                dist.reduce_scatter_single(out, x.contiguous(), group=group)
            else:  # its name before PyTorch 2.14, which warns of it
                dist.reduce_scatter_tensor(out, x.contiguous(), group=group)
            return out.view_as(out)
        x = x.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(x, group=group)
        return x.narrow(0, dist.get_rank(group) * rows, rows)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return _gather(grad, ctx.group), None


class _EagerSumShare(_Linear, _SumShare):
    """This rank's share of the sum for every transform."""


def _gather(x: Tensor, group: dist.ProcessGroup | None) -> Tensor:
    """All-gather along the first dimension, for eager mode or for the compiler."""
    exchange = _Gather if torch.compiler.is_compiling() else _EagerGather
    gathered: Tensor = exchange.apply(x, group)
    return gathered


def gather(x: Tensor, dim: int = 0, group: dist.ProcessGroup | None = None) -> Tensor:
    """The tensors of all ranks, concatenated along ``dim`` in the order of ranks; differentiable.

    Args:
        x: tensor of any shape and dtype. The shape must be the same on every rank; this is not checked here,
            and the backend may hang or fail.
        dim: dimension along which the tensors are concatenated.
        group: ranks that take part. None: all.

    Returns:
        ``x`` with dimension ``dim`` as many times as long as there are ranks. The gradient that arrives at
        ``x`` is the sum over ranks. Every rank must take the same derivatives in the same order: each one is
        an exchange.
    """
    if world_size(group) == 1:
        return x
    return _gather(x.movedim(dim, 0), group).movedim(0, dim)


class _SumOverRanks(torch.autograd.Function):
    """The sum over ranks. Its gradient is also summed over ranks, and can be differentiated again."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, group: dist.ProcessGroup | None) -> Tensor:
        ctx.group = group
        x = x.clone()
        dist.all_reduce(x, group=group)
        return x.view_as(x)  # not `x`: compiled by PyTorch 2.11, its gradient would be 0

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return sum_over_ranks(grad.contiguous(), ctx.group), None


def sum_over_ranks(x: Tensor, group: dist.ProcessGroup | None = None) -> Tensor:
    """The sum over ranks of a tensor of any shape; differentiable, twice as well.

    Args:
        x: floating-point tensor, of the same shape on every rank.
        group: ranks that take part. None: all.

    Returns:
        The same on every rank. The gradient that arrives at ``x`` is the sum over ranks.
    """
    if not (dist.is_available() and dist.is_initialized()):
        return x
    total: Tensor = _SumOverRanks.apply(x, group)
    return total


def _check_equal(rows: Tensor, group: dist.ProcessGroup | None) -> None:
    counts = concrete(gather(rows, group=group)).tolist()
    if len(set(counts)) > 1:
        raise ValueError(
            f"info_nce_gathered: query has {counts} rows, by rank; expected the same number on every rank. "
            "Drop the last, incomplete batch"
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
    temperature: float | Tensor = 0.1,
    queue: Tensor | None = None,
    normalize: bool = True,
    streams: Sequence[str] | None = None,
    check_finite: bool = True,
    check_rows: bool = True,
    precision: Precision = "tf32x3",
    backend: Backend = "auto",
) -> Tensor:
    """`bodvcl.ops.info_nce` (Eqs. 1 and 22) of the rows of this rank against the keys of all ranks.

    Args:
        query: ``(H, N, D)``, the rows of this rank, N the same on every rank.
        keys: ``(H, N, D)``, row by row from the same clips; ``keys is query`` is common.
        video: ``(N,)`` integers, unique over all ranks, for rows and keys alike: equal ids are positives.
        clip: ``(N,)`` integers, unique over all ranks, for rows and keys alike: equal ids are excluded.
        valid: ``(H, N)`` bool; False rows are left out as query and as key. Needs ``normalize=True``.
        group: ranks that take part. None: all.
        reduction: "mean": the average over ranks of the returned losses is the mean over all contributing
            rows; "sum": the average is their sum.
        temperature: as in `bodvcl.ops.info_nce`, and so are all arguments below.
        queue: ``(H, Q, D)``, further negatives, the same on every rank.
        normalize: compare directions.
        streams: names of the streams for error messages.
        check_finite: raise for values that are not finite.
        check_rows: raise where ranks have different numbers of rows; waits for the device. False:
            the caller has made them equal.
        precision: products of float32 tensors in the fused GPU kernels.
        backend: which implementation serves the call.

    Returns:
        ``(H,)``, one loss per stream. It differs between ranks.

    Raises:
        TypeError: query, keys or queue is not a floating-point tensor.
        ValueError: as `bodvcl.ops.info_nce`; ranks with different numbers of rows; ``valid`` with
            ``normalize=False``.
        bodvcl.ops.BackendError: the backend was named and cannot serve the call.
    """
    one_of("info_nce_gathered: reduction", reduction, ("mean", "sum"))
    ranks = world_size(group)
    if ranks > 1 and check_rows and not capturing(query):
        _check_equal(torch.full((1,), query.shape[1], device=query.device), group)
    if valid is not None:
        if not normalize:
            raise ValueError(
                "info_nce_gathered: normalize is False; expected True with valid, since a key that is left "
                "out is a zero vector"
            )
        keys = torch.where(valid[..., None], keys, 0.0)
    key_video, *key_clip = gather(torch.stack([video] if clip is None else [video, clip]), 1, group)
    rows, stats = info_nce(
        query,
        gather(keys, 1, group),
        query_video=video,
        key_video=key_video,
        query_clip=clip,
        key_clip=key_clip[0] if key_clip else None,
        valid=valid,
        reduction="none",
        return_stats=True,
        temperature=temperature,
        queue=queue,
        normalize=normalize,
        streams=streams,
        check_finite=check_finite,
        precision=precision,
        backend=backend,
    )
    total = rows.sum(-1) * ranks
    if reduction == "sum":
        return total
    count = gather(stats.rows[None], group=group).sum(0)
    return total / count.clamp_min(1)
