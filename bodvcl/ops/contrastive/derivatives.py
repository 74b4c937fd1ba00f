"""Derivatives of ``torch.ops.bodvcl.contrastive``.

In eager mode the operators are called through functions that ``torch.func`` knows; the compiler takes the
operators. There is no second derivative: the eager route has it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from bodvcl.ops.constants import where
from bodvcl.ops.contrastive.norms import direction_change, through_norm
from bodvcl.ops.contrastive.op import (
    ARGUMENTS,
    contrastive,
    contrastive_backward_keys,
    contrastive_backward_keys_op,
    contrastive_forward_keys_op,
    contrastive_op,
)
from bodvcl.ops.contrastive.problem import EXPECTED, LSE, STREAM_DIMS, ContrastiveProblem
from bodvcl.ops.transforms import (
    FirstOnly,
    Folded,
    differentiates_again,
    light,
    outer_tangents,
    primals,
    wanted,
)

FIRST_ONLY = (
    "the fused contrastive operation has a first derivative only. Pass backend='torch' (or set "
    "BODVCL_BACKEND=torch) where a second derivative is needed."
)


class _BackwardKeys(FirstOnly):
    """`contrastive_backward_keys` where its own derivative may be asked for."""

    message = FIRST_ONLY
    inputs = (1, 1, *STREAM_DIMS, None, None)

    @staticmethod
    def forward(*arguments: Any) -> Tensor:
        return contrastive_backward_keys(*arguments)


class _BackwardQuery(FirstOnly):
    """Gradients in the queries and in the scale, from what the forward pass kept."""

    message = FIRST_ONLY
    inputs = (1, 2, 1, *STREAM_DIMS)
    outputs = (0, 0)

    @staticmethod
    def forward(grad: Tensor, rows: Tensor, mean: Tensor, *fields: Any) -> tuple[Tensor, Tensor]:
        problem = ContrastiveProblem(*fields)
        query, inverse, scale = problem.query, problem.query_inverse, problem.scale
        along = (grad * rows[EXPECTED]).sum(0)
        unit = (grad[..., None] * mean).sum(0).mul_(scale[:, None, None])
        if problem.normalize:
            direction = query.to(unit.dtype) * inverse[..., None]
            unit = through_norm(unit, direction, along, inverse)
        return unit.to(query.dtype), along.sum(-1) / scale


class _Tangent(FirstOnly):
    """Tangent ``(2, H, N)`` of the log-sum-exps from those of queries, keys and scale; None for none."""

    message = FIRST_ONLY
    inputs = (0, 0, 0, 2, 1, *STREAM_DIMS)
    outputs = (1,)

    @staticmethod
    def forward(
        query_t: Tensor | None,
        keys_t: Tensor | None,
        scale_t: Tensor | None,
        rows: Tensor,
        mean: Tensor,
        *fields: Any,
    ) -> Tensor:
        problem = ContrastiveProblem(*fields)
        scale, wide, normalize = problem.scale, problem.wide, problem.normalize
        lse = rows[LSE]
        out = torch.zeros_like(lse)
        if query_t is not None:
            change = direction_change(query_t, problem.query, problem.query_inverse, wide, normalize)
            out = out + scale[:, None] * (change * mean).sum(-1)
        if scale_t is not None:
            out = out + (scale_t / scale)[:, None] * rows[EXPECTED]
        if keys_t is not None:
            change = direction_change(keys_t, problem.keys, problem.key_inverse, wide, normalize)
            out = out + contrastive_forward_keys_op(change, lse, *problem)
        return torch.where(lse == -torch.inf, 0.0, out)


class _Contrastive(Folded):
    """`contrastive` with its derivatives."""

    inputs = (*STREAM_DIMS, None, None, None)
    outputs = (2, 1)

    @staticmethod
    def forward(*arguments: Any) -> tuple[Tensor, Tensor]:
        return contrastive(*arguments)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        *fields, ctx.route, ctx.precision, ctx.means = inputs
        *tensors, ctx.normalize = ContrastiveProblem(*fields).without_queue()
        ctx.save_for_backward(*output, *tensors)
        ctx.save_for_forward(*output, *tensors)
        ctx.mark_non_differentiable(output[1])
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, grad_rows: Tensor | None, _: None) -> tuple[Tensor | None, ...]:
        if grad_rows is None:
            return _by_name({})
        _require_means(ctx)
        rows, mean, *tensors = ctx.saved_tensors
        problem = ContrastiveProblem._make((*tensors, ctx.normalize))
        needs = dict(zip(ARGUMENTS, ctx.needs_input_grad))
        lse = rows[LSE]
        grad = where(lse != -torch.inf, grad_rows[LSE], 0.0).contiguous()
        again = differentiates_again() and not torch.compiler.is_compiling()
        found: dict[str, Tensor] = {}
        if needs["query"] or needs["scale"]:
            backward_query = _BackwardQuery.apply if again else _BackwardQuery.forward
            found["query"], found["scale"] = backward_query(grad, rows, mean, *problem)
        if needs["keys"]:
            backward_keys = _BackwardKeys.apply if again else contrastive_backward_keys
            found["keys"] = backward_keys(grad, lse, *problem, ctx.route, ctx.precision)
        return _by_name(found)

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor | None) -> tuple[Tensor, None]:
        _require_means(ctx)
        given = dict(zip(ARGUMENTS, tangents))
        with outer_tangents():
            rows, mean, *tensors = primals(*ctx.saved_tensors)
            problem = ContrastiveProblem._make((*tensors, ctx.normalize))
            lse = _Tangent.apply(given["query"], given["keys"], given["scale"], rows, mean, *problem)
            return torch.cat((lse[None], torch.zeros_like(rows[1:]))), None


def _by_name(gradients: dict[str, Tensor]) -> tuple[Tensor | None, ...]:
    """Gradients in the order of the operator's arguments."""
    return tuple(gradients.get(name) for name in ARGUMENTS)


def _require_means(ctx: Any) -> None:
    if not ctx.means:
        raise RuntimeError("torch.ops.bodvcl.contrastive was called with means=False: it has no derivative")


contrastive_op.register_autograd(_Contrastive.backward, setup_context=_Contrastive.setup_context)
contrastive_backward_keys_op.register_autograd(_BackwardKeys.backward)
_light_contrastive = light(_Contrastive)


def fused(problem: ContrastiveProblem, route: str, precision: str, means: bool) -> Tensor:
    """The table ``(5, 2, H, N)`` of the problem; its first plane is differentiable, once.

    Args:
        problem: the call.
        route: "triton" or "chunked".
        precision: how the kernels multiply float32; see `bodvcl.ops.contrastive.info_nce`.
        means: whether to compute what a gradient or an entropy needs.
    """
    run = _light_contrastive if wanted(problem.query, problem.keys, problem.scale) else contrastive
    table: Tensor = run(*problem, route, precision, means)[0]
    return table
