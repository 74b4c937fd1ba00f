r"""The bi-level step of Eqs. 23-25 as functions ``(params, problem) -> gradient``.

With :math:`g = \nabla L_{pred}(\theta)`, :math:`\theta^* = \theta - \gamma g` (Eq. 24),
:math:`v = \nabla [L_A + L_M](\theta^*)` and H the Hessian of L_pred at theta, the gradient of the upper
loss in theta is

.. math:: \nabla_\theta [L_A + L_M](\theta^*(\theta)) = (I - \gamma H) v .

A solver reads the parameters and returns gradients; it changes no parameter.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from bodvcl.bilevel.problem import Params, Problem, Step


def plain(params: Params, problem: Problem) -> Step:
    """The gradient of the upper loss at theta; no lower level. 1 forward and 1 backward pass."""
    upper, gradient = _value_and_gradient(problem.upper, params)
    return Step(gradient, None, upper)


def single(params: Params, problem: Problem) -> Step:
    """Single level (Table 8): the gradient of lower + upper at theta. 1 forward and 1 backward pass."""
    leaves = _leaves(params)
    lower, upper = problem.both(leaves)
    return Step(_gradient(lower + upper, leaves), lower.detach(), upper.detach())


def first_order(params: Params, problem: Problem, gamma: float) -> Step:
    """Look ahead by one inner step and drop the Hessian: v. 2 forward and 2 backward passes."""
    lower, g = _value_and_gradient(problem.lower, params)
    upper, v = _value_and_gradient(problem.upper, _moved(params, g, -gamma))
    return Step(v, lower, upper)


def finite_difference(params: Params, problem: Problem, gamma: float, fd_scale: float) -> Step:
    r"""The hypergradient with a one-sided difference that reuses the inner gradient. 3 forward and 3
    backward passes.

    .. math:: H v \approx (\nabla L_{pred}(\theta + \epsilon v) - g) / \epsilon, \quad
              \epsilon = \mathrm{fd\_scale} \, \|\theta\| / \|v\|

    Where v is 0 there is nothing to correct and v is returned.

    Args:
        params: theta.
        problem: both losses.
        gamma: learning rate of the inner step.
        fd_scale: length of the difference relative to the norm of theta; 5e-5 to 5e-4 suits float32.
    """
    lower, g = _value_and_gradient(problem.lower, params)
    upper, v = _value_and_gradient(problem.upper, _moved(params, g, -gamma))
    v_norm = _norm(v)
    if v_norm == 0:
        return Step(v, lower, upper)
    epsilon = fd_scale * _norm(params) / v_norm
    _, g_moved = _value_and_gradient(problem.lower, _moved(params, v, epsilon))
    gradient = {name: v[name] - (gamma / epsilon) * (g_moved[name] - g[name]) for name in params}
    return Step(gradient, lower, upper)


def make_solver(name: str, gamma: float, fd_scale: float) -> Callable[[Params, Problem], Step]:
    """The solver of that name: "fd", "first_order" or "single"; "plain" for no lower level."""
    return {
        "plain": plain,
        "single": single,
        "first_order": lambda params, problem: first_order(params, problem, gamma),
        "fd": lambda params, problem: finite_difference(params, problem, gamma, fd_scale),
    }[name]


PASSES = {"plain": (1, 1), "single": (1, 1), "first_order": (2, 2), "fd": (3, 3)}
"""Forward and backward passes of the backbone per step, by solver."""


def _value_and_gradient(loss: Callable[[Params], Tensor], params: Params) -> tuple[Tensor, Params]:
    leaves = _leaves(params)
    value = loss(leaves)
    return value.detach(), _gradient(value, leaves)


def _leaves(params: Params) -> Params:
    return {name: p.detach().requires_grad_() for name, p in params.items()}


def _gradient(value: Tensor, leaves: Params) -> Params:
    gradients = torch.autograd.grad(value, list(leaves.values()), materialize_grads=True)
    return dict(zip(leaves, gradients))


def _moved(params: Params, direction: Params, step: Tensor | float) -> Params:
    return {name: p.detach() + step * direction[name] for name, p in params.items()}


def _norm(tensors: Params) -> Tensor:
    return torch.linalg.vector_norm(
        torch.stack([torch.linalg.vector_norm(t.detach()) for t in tensors.values()])
    )
