"""``torch.ops.bodvcl.contrastive``: log-sum-exps over negatives and positives, without the matrix.

The forward keeps what the gradient in the queries and the temperature needs, so only keys that want a
gradient take a second pass (``contrastive_backward_keys``), and so do keys with a tangent. Four operators,
opaque to the compiler, with fakes; the route ("triton" or "chunked") is an argument. In eager mode they are
called through functions that ``torch.func`` knows. There is no second derivative: the eager route has it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bodvcl.ops.contrastive import chunked
from bodvcl.ops.contrastive.problem import EXPECTED, LSE, Problem
from bodvcl.ops.transforms import FirstOnly, Folded, fold, outer_tangents, primals, unfold, wanted

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


@inverse_norms_op.register_vmap
def _(
    info,
    in_dims,
    x: Tensor,
    temperature: Tensor | None,
    normalize: bool,
    check: bool,
    name: str,
    streams: str,
) -> tuple[Tensor, int]:
    size = info.batch_size
    if temperature is not None:
        temperature = fold(temperature, in_dims[1], size)
    names = ",".join([streams] * size)
    return unfold(
        inverse_norms_op(fold(x, in_dims[0], size), temperature, normalize, check, name, names), size
    ), 0


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


@torch.library.custom_op("bodvcl::contrastive_forward_keys", mutates_args=())
def contrastive_forward_keys_op(
    change: Tensor,
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
) -> Tensor:
    """Tangent ``(2, H, N)`` of the log-sum-exps ``lse (2, H, N)`` from ``change (H, K, D)`` of the keys as
    they are compared; by the blocked route.
    """
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
        return torch.zeros_like(lse, memory_format=torch.contiguous_format)
    with torch.autocast(query.device.type, enabled=False):
        return chunked.forward_keys(problem, lse, change)


@contrastive_forward_keys_op.register_fake
def _(change: Tensor, lse: Tensor, *rest: object) -> Tensor:
    return torch.empty_like(lse, memory_format=torch.contiguous_format)


def _through_norm(unit: Tensor, direction: Tensor, along: Tensor, inverse: Tensor) -> Tensor:
    """Gradient in a vector from the gradient ``unit`` in its direction, whose part along it is ``along``."""
    return (unit - along[..., None] * direction).mul_(inverse[..., None])


STREAM_DIMS = (0,) * 7 + (None,) * 4
"""Where the tensors of `Problem` have their streams."""


class _BackwardKeys(FirstOnly):
    """`contrastive_backward_keys_op` in eager mode."""

    message = FIRST_ONLY
    inputs = (1, 1, 0, 0, 0, 0, 0, *(None,) * 7)

    @staticmethod
    def forward(*args: object) -> Tensor:
        return contrastive_backward_keys_op(*args)


class _BackwardQuery(FirstOnly):
    """Gradients in the queries and in the scale, from what the forward pass kept."""

    message = FIRST_ONLY
    inputs = (1, 0, 0, 0, 2, 1, None)
    outputs = (0, 0)

    @staticmethod
    def forward(
        grad: Tensor,
        query: Tensor,
        query_inverse: Tensor,
        scale: Tensor,
        rows: Tensor,
        mean: Tensor,
        normalize: bool,
    ) -> tuple[Tensor, Tensor]:
        along = (grad * rows[EXPECTED]).sum(0)
        unit = (grad[..., None] * mean).sum(0).mul_(scale[:, None, None])
        if normalize:
            direction = query.to(unit.dtype) * query_inverse[..., None]
            unit = _through_norm(unit, direction, along, query_inverse)
        return unit.to(query.dtype), along.sum(-1) / scale


class _Tangent(FirstOnly):
    """Tangent ``(2, H, N)`` of the log-sum-exps from those of queries, keys and scale; None for none."""

    message = FIRST_ONLY
    inputs = (0, 0, 0, *STREAM_DIMS, 2, 1, None)
    outputs = (1,)

    @staticmethod
    def forward(
        query_t: Tensor | None,
        keys_t: Tensor | None,
        scale_t: Tensor | None,
        *saved: object,
    ) -> Tensor:
        query, keys, _, query_inverse, key_inverse, _, scale, *ids, rows, mean, normalize = saved
        lse = rows[LSE]
        out = torch.zeros_like(lse)
        if query_t is not None:
            change = _direction_change(query_t, query, query_inverse, scale.dtype, normalize)
            out = out + scale[:, None] * (change * mean).sum(-1)
        if scale_t is not None:
            out = out + (scale_t / scale)[:, None] * rows[EXPECTED]
        if keys_t is not None:
            change = _direction_change(keys_t, keys, key_inverse, scale.dtype, normalize)
            out = out + contrastive_forward_keys_op(
                change, lse, query, keys, query_inverse, key_inverse, scale, *ids, normalize
            )
        return torch.where(lse == -torch.inf, 0.0, out)


def _direction_change(
    tangent: Tensor, x: Tensor, inverse: Tensor, wide: torch.dtype, normalize: bool
) -> Tensor:
    """Tangent of the unit vectors, or of the vectors as they are without normalisation."""
    tangent = tangent.to(wide)
    if not normalize:
        return tangent
    direction = x.to(wide) * inverse[..., None]
    return _through_norm(tangent, direction, (tangent * direction).sum(-1), inverse)


class _Contrastive(Folded):
    """`contrastive_op` in eager mode."""

    inputs = (*STREAM_DIMS, *(None,) * 4)
    outputs = (2, 1)

    @staticmethod
    def forward(*args: object) -> tuple[Tensor, Tensor]:
        return contrastive_op(*args)

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:
        query, keys, _, query_inverse, key_inverse, _, *rest = inputs[:11]
        rows, mean = output
        kept = query, keys, None, query_inverse, key_inverse, None, *rest, rows, mean
        ctx.save_for_backward(*kept)
        ctx.save_for_forward(*kept)
        ctx.mark_non_differentiable(mean)
        ctx.set_materialize_grads(False)
        ctx.normalize, ctx.route, ctx.precision, ctx.means = inputs[11:]

    @staticmethod
    def backward(ctx, grad_rows: Tensor | None, _: None) -> tuple[Tensor | None, ...]:
        out: list[Tensor | None] = [None] * 15
        if grad_rows is None:
            return tuple(out)
        _require_means(ctx)
        query, keys, _, query_inverse, key_inverse, _, scale, *ids, rows, mean = ctx.saved_tensors
        lse = rows[LSE]
        grad = torch.where(lse == -torch.inf, 0.0, grad_rows[LSE]).contiguous()
        compiling = torch.compiler.is_compiling()
        if ctx.needs_input_grad[0] or ctx.needs_input_grad[6]:
            backward = _BackwardQuery.forward if compiling else _BackwardQuery.apply
            out[0], out[6] = backward(grad, query, query_inverse, scale, rows, mean, ctx.normalize)
        if ctx.needs_input_grad[1]:
            backward = contrastive_backward_keys_op if compiling else _BackwardKeys.apply
            options = ctx.normalize, ctx.route, ctx.precision
            out[1] = backward(grad, lse, query, keys, query_inverse, key_inverse, scale, *ids, *options)
        return tuple(out)

    @staticmethod
    def jvp(ctx, query_t: Tensor | None, keys_t: Tensor | None, *rest: Tensor | None) -> tuple:
        _require_means(ctx)
        with outer_tangents():
            saved = primals(*ctx.saved_tensors)
            lse = _Tangent.apply(query_t, keys_t, rest[4], *saved, ctx.normalize)
            others = torch.zeros_like(saved[-2][1:])
            return torch.cat((lse[None], others)), None


def _require_means(ctx) -> None:
    if not ctx.means:
        raise RuntimeError("torch.ops.bodvcl.contrastive was called with means=False: it has no derivative")


contrastive_op.register_autograd(_Contrastive.backward, setup_context=_Contrastive.setup_context)
contrastive_backward_keys_op.register_autograd(_BackwardKeys.backward)


def fused(problem: Problem, route: str, precision: str, means: bool) -> Tensor:
    """The table ``(5, 2, H, N)`` of `Problem`; its first plane is differentiable, once."""
    *tensors, normalize = problem
    run = _Contrastive.apply if wanted(problem.query, problem.keys, problem.scale) else contrastive_op
    return run(*tensors, normalize, route, precision, means)[0]
