"""InfoNCE for H streams at once, without writing a similarity matrix (Eqs. 1 and 22)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, overload

from torch import Tensor

from bodvcl.ops.checks import one_of
from bodvcl.ops.contrastive.parts import (
    REDUCTIONS,
    InfoNCEParts,
    InfoNCEStats,
    Reduction,
    reduced,
    row_losses,
)
from bodvcl.ops.contrastive.prepare import Precision, empty_rows, log_sum_exps, prepare, solve

Backend = Literal["auto", "triton", "chunked", "torch", "reference"]


def info_nce_parts(
    query: Tensor,
    keys: Tensor,
    *,
    query_video: Tensor,
    key_video: Tensor,
    query_clip: Tensor | None = None,
    key_clip: Tensor | None = None,
    queue: Tensor | None = None,
    temperature: float | Tensor = 0.1,
    valid: Tensor | None = None,
    normalize: bool = True,
    streams: Sequence[str] | None = None,
    check_finite: bool = True,
    statistics: bool = True,
    precision: Precision = "tf32x3",
    backend: Backend = "auto",
) -> InfoNCEParts:
    """InfoNCE (Eq. 1) against a part of the keys: log-sum-exps that `merge` joins with those of other keys.

    Args:
        query: ``(H, N, D)``, as in `info_nce`, and so are all other arguments but this one:
        statistics: whether ``expected`` is wanted. False: it holds 0, unless a gradient needs it.

    Returns:
        The log-sum-exps of every row over its negatives and over its positives, and what statistics need.

    Raises:
        TypeError: as `info_nce`.
        ValueError: as `info_nce`.
        bodvcl.ops.BackendError: the backend was named and cannot serve the call.
    """
    problem, _ = prepare(
        query=query,
        keys=keys,
        query_video=query_video,
        key_video=key_video,
        query_clip=query_clip,
        key_clip=key_clip,
        queue=queue,
        temperature=temperature,
        valid=valid,
        normalize=normalize,
        streams=streams,
        check_finite=check_finite,
    )
    return solve(problem, statistics=statistics, precision=precision, backend=backend)


@overload
def info_nce(
    query: Tensor,
    keys: Tensor,
    *,
    query_video: Tensor,
    key_video: Tensor,
    query_clip: Tensor | None = ...,
    key_clip: Tensor | None = ...,
    queue: Tensor | None = ...,
    temperature: float | Tensor = ...,
    valid: Tensor | None = ...,
    normalize: bool = ...,
    reduction: Reduction = ...,
    return_stats: Literal[False] = ...,
    streams: Sequence[str] | None = ...,
    check_finite: bool = ...,
    precision: Precision = ...,
    backend: Backend = ...,
) -> Tensor: ...


@overload
def info_nce(
    query: Tensor,
    keys: Tensor,
    *,
    query_video: Tensor,
    key_video: Tensor,
    query_clip: Tensor | None = ...,
    key_clip: Tensor | None = ...,
    queue: Tensor | None = ...,
    temperature: float | Tensor = ...,
    valid: Tensor | None = ...,
    normalize: bool = ...,
    reduction: Reduction = ...,
    return_stats: Literal[True],
    streams: Sequence[str] | None = ...,
    check_finite: bool = ...,
    precision: Precision = ...,
    backend: Backend = ...,
) -> tuple[Tensor, InfoNCEStats]: ...


def info_nce(
    query: Tensor,
    keys: Tensor,
    *,
    query_video: Tensor,
    key_video: Tensor,
    query_clip: Tensor | None = None,
    key_clip: Tensor | None = None,
    queue: Tensor | None = None,
    temperature: float | Tensor = 0.1,
    valid: Tensor | None = None,
    normalize: bool = True,
    reduction: Reduction = "mean",
    return_stats: bool = False,
    streams: Sequence[str] | None = None,
    check_finite: bool = True,
    precision: Precision = "tf32x3",
    backend: Backend = "auto",
) -> Tensor | tuple[Tensor, InfoNCEStats]:
    r"""InfoNCE (Eq. 1) for H streams at once; with the streams "static" and "dynamic" it is Eq. 22:

    .. math:: \ell_i = -\log \frac{\sum_{j \in P_i} \exp(\mathrm{sim}(q_i, k_j) / \tau)}
                                  {\sum_{j \notin E_i} \exp(\mathrm{sim}(q_i, k_j) / \tau)}

    where :math:`P_i` are the other clips of the same video, :math:`E_i` the keys that are the same clip, and
    sim is the cosine. The sum over positives is inside the logarithm; there may be any number of them.

    Args:
        query: ``(H, N, D)``, float32, float64, float16 or bfloat16, contiguous or not.
        keys: ``(H, K, D)``, same dtype and device; gets a gradient if it requires one.
        query_video: ``(N,)`` integers, the video of each row.
        key_video: ``(K,)`` integers, the video of each key; a key with the id of a row is its positive.
        query_clip: ``(N,)`` integers, the clip of each row. None: nothing is excluded.
        key_clip: ``(K,)`` integers, the clip of each key; a key with the id of a row is excluded. Give both
            ``query_clip`` and ``key_clip`` or neither.
        queue: ``(H, Q, D)``, further negatives for every row, without a gradient: a memory bank.
        temperature: tau > 0, a number or a tensor of one or H numbers, learnable if it requires a gradient.
        valid: ``(H, N)`` bool; False rows are left out as query and, where ``keys is query``, as key. A valid
            row without a positive contributes 0. None: all rows are valid.
        normalize: compare directions (cosines); False compares the vectors themselves (dot products). A
            vector not longer than 1e-12 has no direction: it is left out as query and as key.
        reduction: "mean" over each stream's contributing rows; "sum"; "none".
        return_stats: also return `InfoNCEStats`, which needs no further pass over the keys.
        streams: H names of the streams for error messages.
        check_finite: raise for a NaN, an infinity, or a temperature in a tensor that is not positive; on a
            GPU this waits for the device, and while a CUDA graph is captured nobody looks. With False, the
            loss of that stream is NaN.
        precision: products of float32 tensors in the fused GPU kernels: "tf32x3" is accurate to about
            float32, "tf32" and "bf16" are faster and off by up to 2e-3 and 2e-2 in a logit at tau 0.07,
            "ieee" uses no matrix unit. Sums are float32 in any case.
        backend: "auto" chooses by size; "triton" (fused, GPU), "chunked" (blocks of rows), "torch" (the
            matrix; twice differentiable), also known as "reference".

    Returns:
        ``(H,)`` for "mean" and "sum", one loss per stream; ``(H, N)`` for "none". float32, or float64 for
        float64. With ``return_stats``, ``(loss, stats)``.

    Raises:
        TypeError: query, keys or queue is not a floating-point tensor.
        ValueError: shapes, dtypes or devices that do not fit; ids of the wrong length or type; a temperature
            that is not positive; values that are not finite; an unknown option.
        bodvcl.ops.BackendError: the backend was named and cannot serve the call.
    """
    one_of("info_nce: reduction", reduction, REDUCTIONS)
    problem, factors = prepare(
        query=query,
        keys=keys,
        query_video=query_video,
        key_video=key_video,
        query_clip=query_clip,
        key_clip=key_clip,
        queue=queue,
        temperature=temperature,
        valid=valid,
        normalize=normalize,
        streams=streams,
        check_finite=check_finite,
    )
    if not return_stats:
        lse = log_sum_exps(problem, precision=precision, backend=backend)
        return reduced(*row_losses(lse), reduction)
    parts = solve(problem, statistics=True, precision=precision, backend=backend)
    stats = parts.stats(problem.scale.detach(), empty_rows(factors, valid))
    return reduced(*row_losses(parts.lse), reduction), stats
