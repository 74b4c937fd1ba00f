"""``torch.ops.bodvcl.contrastive``: log-sum-exps over negatives and positives, without the matrix.

The forward keeps what the gradient in the queries and the temperature needs. Only keys that want a gradient
take a second pass (``contrastive_backward_keys``), and so do keys with a tangent
(``contrastive_forward_keys``). The operators are opaque to the compiler, with fakes; the route ("triton" or
"chunked") is an argument. Their derivatives are in `bodvcl.ops.contrastive.derivatives`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from bodvcl.ops.contrastive import chunked
from bodvcl.ops.contrastive.norms import through_norm
from bodvcl.ops.contrastive.problem import SCHEMA, ContrastiveProblem
from bodvcl.ops.transforms import traced

ARGUMENTS = (*ContrastiveProblem._fields, "route", "precision", "means")
"""The arguments of ``torch.ops.bodvcl.contrastive``."""


def _contrastive(*arguments: Any) -> tuple[Tensor, Tensor]:
    """The table ``(5, 2, H, N)``, its first plane differentiable, and the groups' means ``(2, H, N, D)``.

    Args:
        arguments: the fields of `ContrastiveProblem`, then the route, the precision of the kernels, and
            ``means``: False leaves out what only a gradient or an entropy needs.
    """
    *fields, route, precision, means = arguments
    problem = ContrastiveProblem(*fields)
    if problem.query.numel() == 0:
        return problem.empty_rows(), problem.scale.new_zeros(_means_shape(problem, means))
    if route == "triton":
        from bodvcl.kernels import contrastive as kernels

        return kernels.forward(problem, precision, means)
    with torch.autocast(problem.query.device.type, enabled=False):
        return chunked.forward(problem, means)


contrastive_op = torch.library.custom_op(
    "bodvcl::contrastive",
    _contrastive,
    mutates_args=(),
    schema=f"({SCHEMA}, str route, str precision, bool means) -> (Tensor, Tensor)",
)


def contrastive(*arguments: Any) -> tuple[Tensor, Tensor]:
    """`contrastive_op` for a tracer, and what is inside of it in eager mode."""
    run = contrastive_op if traced(arguments[0]) else _contrastive
    table_and_means: tuple[Tensor, Tensor] = run(*arguments)
    return table_and_means


@contrastive_op.register_fake
def _(*arguments: Any) -> tuple[Tensor, Tensor]:
    *fields, _, _, means = arguments
    problem = ContrastiveProblem(*fields)
    h, n, _ = problem.query.shape
    return problem.scale.new_empty(5, 2, h, n), problem.scale.new_empty(_means_shape(problem, means))


def _means_shape(problem: ContrastiveProblem, means: bool) -> tuple[int, ...]:
    return (2, *problem.query.shape) if means else (0,)


def _contrastive_backward_keys(grad: Tensor, lse: Tensor, *arguments: Any) -> Tensor:
    """Gradient ``(H, K, D)`` in the keys from ``grad (2, H, N)`` of the log-sum-exps ``lse (2, H, N)``.

    Args:
        grad: 0 where ``lse`` is -inf.
        lse: the first plane of the table.
        arguments: the fields of a `ContrastiveProblem` without a queue, the route, the precision.
    """
    *fields, route, precision = arguments
    problem = ContrastiveProblem(*fields)
    keys, inverse = problem.keys, problem.key_inverse
    if problem.query.numel() == 0 or keys.numel() == 0:
        return torch.zeros_like(keys, memory_format=torch.contiguous_format)
    if route == "triton":
        from bodvcl.kernels import contrastive as kernels

        unit = kernels.backward_keys(problem, lse, grad, precision)
    else:
        with torch.autocast(keys.device.type, enabled=False):
            unit = chunked.backward_keys(problem, lse, grad)
    if problem.normalize:
        direction = keys.to(unit.dtype) * inverse[..., None]
        unit = through_norm(unit, direction, (unit * direction).sum(-1), inverse)
    return unit.to(keys.dtype)


contrastive_backward_keys_op = torch.library.custom_op(
    "bodvcl::contrastive_backward_keys",
    _contrastive_backward_keys,
    mutates_args=(),
    schema=f"(Tensor grad, Tensor lse, {SCHEMA}, str route, str precision) -> Tensor",
)


def contrastive_backward_keys(grad: Tensor, *rest: Any) -> Tensor:
    """`contrastive_backward_keys_op` for a tracer, and what is inside of it in eager mode."""
    run = contrastive_backward_keys_op if traced(grad) else _contrastive_backward_keys
    gradient: Tensor = run(grad, *rest)
    return gradient


@contrastive_backward_keys_op.register_fake
def _(grad: Tensor, lse: Tensor, *arguments: Any) -> Tensor:
    problem = ContrastiveProblem(*arguments[:-2])
    return torch.empty_like(problem.keys, memory_format=torch.contiguous_format)


@torch.library.custom_op(
    "bodvcl::contrastive_forward_keys",
    mutates_args=(),
    schema=f"(Tensor change, Tensor lse, {SCHEMA}) -> Tensor",
)
def contrastive_forward_keys_op(change: Tensor, lse: Tensor, *fields: Any) -> Tensor:
    """Tangent ``(2, H, N)`` of the log-sum-exps ``lse (2, H, N)``, by the blocked route.

    Args:
        change: ``(H, K, D)``, tangent of the unit keys, or of the keys themselves without normalisation.
        lse: the first plane of the table.
        fields: those of a `ContrastiveProblem` without a queue.
    """
    problem = ContrastiveProblem(*fields)
    if problem.query.numel() == 0 or problem.keys.numel() == 0:
        return torch.zeros_like(lse, memory_format=torch.contiguous_format)
    with torch.autocast(problem.query.device.type, enabled=False):
        return chunked.forward_keys(problem, lse, change)


@contrastive_forward_keys_op.register_fake
def _(change: Tensor, lse: Tensor, *fields: Any) -> Tensor:
    return torch.empty_like(lse, memory_format=torch.contiguous_format)
