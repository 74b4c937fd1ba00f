"""``torch.ops.bodvcl.contrastive``: log-sum-exps over negatives and positives, without the matrix.

The forward keeps what the gradient in the queries and the temperature needs, so only keys that want a
gradient take a second pass (``contrastive_backward_keys``). Three operators, opaque to the compiler, with
fakes; the route ("triton" or "chunked") is an argument. There is no second derivative: the eager route has
it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bodvcl.ops import _contrastive_chunked as chunked
from bodvcl.ops._contrastive_problem import EXPECTED, LSE, Problem

NO_DIRECTION = 1e-12
"""Vectors no longer than this have no direction."""

FIRST_ONLY = (
    "the fused contrastive operation has a first derivative only. Pass backend='torch' (or set "
    "BODVCL_BACKEND=torch) where a second derivative is needed."
)


@torch.library.custom_op("bodvcl::inverse_norms", mutates_args=())
def inverse_norms_op(
    x: Tensor, temperature: Tensor | None, normalize: bool, check: bool, name: str, streams: str
) -> Tensor:
    """``(H, N)`` factors that bring the vectors of ``x (H, N, D)`` to unit length; 0 where there is none.

    Without ``normalize``, 1. NaN where the vector is not finite. With ``check``, such vectors and a
    temperature that is not positive raise ValueError with the name of the stream.
    """
    wide = torch.promote_types(x.dtype, torch.float32)
    norms = torch.linalg.vector_norm(x, dim=-1, dtype=wide)
    finite = norms.isfinite()
    if check:
        _check_values(finite, temperature, name, streams.split(","))
    factors = torch.where(norms > NO_DIRECTION, 1 / norms, 0.0) if normalize else torch.ones_like(norms)
    return torch.where(finite, factors, torch.nan)


def _check_values(finite: Tensor, temperature: Tensor | None, name: str, streams: list[str]) -> None:
    bad = (~finite).sum(-1).tolist()
    if any(bad):
        where = ", ".join(
            f"stream {stream!r} in {count} of {finite.shape[1]} rows"
            for stream, count in zip(streams, bad)
            if count
        )
        raise ValueError(
            f"info_nce: {name} is not finite (NaN, an infinity, or too large to square): {where}. Find out "
            "where it comes from, or pass check_finite=False to get NaN for those streams"
        )
    if temperature is not None:
        for stream, value in zip(streams, temperature.tolist()):
            if not 0 < value < float("inf"):
                raise ValueError(
                    f"info_nce: temperature must be positive and finite, got {value} for stream {stream!r}"
                )


@inverse_norms_op.register_fake
def _(x: Tensor, temperature: Tensor | None, normalize: bool, check: bool, name: str, streams: str) -> Tensor:
    return x.new_empty(x.shape[:2], dtype=torch.promote_types(x.dtype, torch.float32))


@torch.library.custom_op("bodvcl::contrastive", mutates_args=())
def contrastive_op(
    query: Tensor,
    keys: Tensor,
    queue: Tensor | None,
    query_inverse: Tensor,
    key_inverse: Tensor,
    queue_inverse: Tensor | None,
    scale: Tensor,
    query_video: Tensor,
    key_video: Tensor,
    query_clip: Tensor | None,
    key_clip: Tensor | None,
    normalize: bool,
    route: str,
    precision: str,
    means: bool,
) -> tuple[Tensor, Tensor]:
    """The table ``(5, 2, H, N)``, its first plane differentiable, and the groups' means ``(2, H, N, D)``.

    Arguments as in `Problem`; ``means=False`` leaves out what only a gradient or an entropy needs.
    """
    problem = Problem(
        query,
        keys,
        queue,
        query_inverse,
        key_inverse,
        queue_inverse,
        scale,
        query_video,
        key_video,
        query_clip,
        key_clip,
        normalize,
    )
    if query.numel() == 0:
        h, n, d = query.shape
        return problem.empty_rows(), scale.new_zeros((2, h, n, d) if means else (0,))
    if route == "triton":
        from bodvcl.kernels import contrastive as kernels

        return kernels.forward(problem, precision, means)
    with torch.autocast(query.device.type, enabled=False):
        return chunked.forward(problem, means)


@contrastive_op.register_fake
def _(
    query: Tensor,
    keys: Tensor,
    queue: Tensor | None,
    query_inverse: Tensor,
    key_inverse: Tensor,
    queue_inverse: Tensor | None,
    scale: Tensor,
    query_video: Tensor,
    key_video: Tensor,
    query_clip: Tensor | None,
    key_clip: Tensor | None,
    normalize: bool,
    route: str,
    precision: str,
    means: bool,
) -> tuple[Tensor, Tensor]:
    h, n, d = query.shape
    return scale.new_empty(5, 2, h, n), scale.new_empty((2, h, n, d) if means else (0,))


@torch.library.custom_op("bodvcl::contrastive_backward_keys", mutates_args=())
def contrastive_backward_keys_op(
    grad: Tensor,
    lse: Tensor,
    query: Tensor,
    keys: Tensor,
    query_inverse: Tensor,
    key_inverse: Tensor,
    scale: Tensor,
    query_video: Tensor,
    key_video: Tensor,
    query_clip: Tensor | None,
    key_clip: Tensor | None,
    normalize: bool,
    route: str,
    precision: str,
) -> Tensor:
    """Gradient ``(H, K, D)`` in the keys from ``grad (2, H, N)`` of the log-sum-exps ``lse (2, H, N)``."""
    problem = Problem(
        query,
        keys,
        None,
        query_inverse,
        key_inverse,
        None,
        scale,
        query_video,
        key_video,
        query_clip,
        key_clip,
        normalize,
    )
    if query.numel() == 0 or keys.numel() == 0:
        return torch.zeros_like(keys, memory_format=torch.contiguous_format)
    if route == "triton":
        from bodvcl.kernels import contrastive as kernels

        unit = kernels.backward_keys(problem, lse, grad, precision)
    else:
        with torch.autocast(query.device.type, enabled=False):
            unit = chunked.backward_keys(problem, lse, grad)
    if normalize:
        direction = keys.to(unit.dtype) * key_inverse[..., None]
        unit = _through_norm(unit, direction, (unit * direction).sum(-1), key_inverse)
    return unit.to(keys.dtype)


@contrastive_backward_keys_op.register_fake
def _(grad: Tensor, lse: Tensor, query: Tensor, keys: Tensor, *rest: object) -> Tensor:
    return torch.empty_like(keys, memory_format=torch.contiguous_format)


def _through_norm(unit: Tensor, direction: Tensor, along: Tensor, inverse: Tensor) -> Tensor:
    """Gradient in a vector from the gradient ``unit`` in its direction, whose part along it is ``along``."""
    return (unit - along[..., None] * direction).mul_(inverse[..., None])


def _setup(ctx, inputs, output) -> None:
    query, keys, _, query_inverse, key_inverse, _, scale, *ids = inputs[:11]
    rows, mean = output
    ctx.save_for_backward(query, keys, query_inverse, key_inverse, scale, *ids, rows, mean)
    ctx.mark_non_differentiable(mean)
    ctx.set_materialize_grads(False)
    ctx.normalize, ctx.route, ctx.precision, ctx.means = inputs[11:]


def _backward(ctx, grad_rows: Tensor | None, _: None) -> tuple[Tensor | None, ...]:
    out: list[Tensor | None] = [None] * 15
    if grad_rows is None:
        return tuple(out)
    query, keys, query_inverse, key_inverse, scale, *ids, rows, mean = ctx.saved_tensors
    if not ctx.means:
        raise RuntimeError("torch.ops.bodvcl.contrastive was called with means=False: it has no gradient")
    lse = rows[LSE]
    grad = torch.where(lse == -torch.inf, 0.0, grad_rows[LSE]).contiguous()
    along = (grad * rows[EXPECTED]).sum(0)
    if ctx.needs_input_grad[0]:
        unit = (grad[..., None] * mean).sum(0).mul_(scale[:, None, None])
        if ctx.normalize:
            direction = query.to(unit.dtype) * query_inverse[..., None]
            unit = _through_norm(unit, direction, along, query_inverse)
        out[0] = unit.to(query.dtype)
    if ctx.needs_input_grad[1]:
        out[1] = contrastive_backward_keys_op(
            grad,
            lse,
            query,
            keys,
            query_inverse,
            key_inverse,
            scale,
            *ids,
            ctx.normalize,
            ctx.route,
            ctx.precision,
        )
    if ctx.needs_input_grad[6]:
        out[6] = along.sum(-1) / scale
    return tuple(out)


contrastive_op.register_autograd(_backward, setup_context=_setup)


def _no_second(ctx, *grads: Tensor) -> None:
    raise RuntimeError(FIRST_ONLY)


contrastive_backward_keys_op.register_autograd(_no_second)


def fused(problem: Problem, route: str, precision: str, means: bool) -> Tensor:
    """The table ``(5, 2, H, N)`` of `Problem`; its first plane is differentiable, once."""
    *tensors, normalize = problem
    return contrastive_op(*tensors, normalize, route, precision, means)[0]
