r"""The bi-level step of Eqs. 23-25 as functions ``(params, problem) -> Step``.

n inner steps (Eq. 24) look ahead from theta, ``theta_0 = theta``:

.. math:: \theta_{j+1} = \theta_j - \gamma \nabla L_{pred}(\theta_j), \quad \theta^* = \theta_n .

With :math:`v = \nabla [L_A + L_M](\theta^*)` and :math:`H_j` the Hessian of L_pred at theta_j, the gradient
of the upper loss in theta (Eq. 25) is

.. math:: \nabla_\theta [L_A + L_M](\theta^*(\theta)) = (I - \gamma H_0) \cdots (I - \gamma H_{n-1}) \, v .

The solvers ``cg`` and ``neumann`` take an implicit inner step in place of explicit ones; see
:func:`implicit`. ``docs/bilevel.md`` compares all solvers. A solver reads the parameters and returns
gradients. It changes no parameter. New solvers are registered at the end of this file.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

import torch
from torch import Tensor

from bodvcl.bilevel.curvature import (
    Curvature,
    Product,
    central,
    kept_graph,
    one_sided,
    recomputed_graph,
    slope_only,
)
from bodvcl.bilevel.levels import Levels, levels_of
from bodvcl.bilevel.linear import Solution, conjugate_gradients, neumann_series
from bodvcl.bilevel.problem import BilevelProblem, Params, Step
from bodvcl.bilevel.vectors import difference, filled, gradient, leaves, moved, norm, only
from bodvcl.config.checks import bilevel_contradictions
from bodvcl.config.schema import BilevelConfig

Solver = Callable[[Params, BilevelProblem], Step]
LinearSolver = Callable[[Product, Params, Tensor | float, int], Solution]
Reduce = Callable[[Params], Params]
"""Mean of every tensor over the ranks."""


@dataclass(frozen=True)
class Inner:
    """Options of the inner steps.

    Attributes:
        gamma: learning rate.
        steps: number of inner steps.
        max_norm: longest inner step, relative to the norm of the parameters that look ahead. A longer step is
            shortened by a smaller gamma, which counts as a constant when theta* is differentiated. None: no
            limit.
    """

    gamma: float
    steps: int = 1
    max_norm: float | None = None

    def rate(self, at: Params, slope: Params) -> Tensor | float:
        """Learning rate of the step from ``at`` in the direction of minus ``slope``."""
        if self.max_norm is None:
            return self.gamma
        length = norm(slope)
        longest = self.max_norm * norm(only(at, slope))
        return torch.where(self.gamma * length > longest, longest / length, self.gamma)


def make_solver(config: BilevelConfig | None, reduce: Reduce | None = None) -> Solver:
    """The solver of a run.

    Args:
        config: solver, scope and their options. None: there is no lower level; the solver is :func:`plain`.
        reduce: mean over ranks. It is applied to the slopes of the inner steps and to every direction before
            a product. Then all ranks look ahead to the same theta*, and the mean of their gradients, which
            the caller computes, is the gradient for the whole batch. None: each rank looks ahead separately.

    Raises:
        ValueError: options that contradict each other.
    """
    if config is None:
        return plain
    problems = list(bilevel_contradictions(config))
    if problems:
        raise ValueError("; ".join(problems))
    if config.solver in SOLVERS:
        return SOLVERS[config.solver]
    average = reduce or _as_it_is
    inner = Inner(config.gamma, config.inner_steps, config.max_inner_norm)
    if config.solver in LINEAR_SOLVERS:
        solve = LINEAR_SOLVERS[config.solver]
        return lambda params, problem: implicit(
            levels_of(problem, params, config.scope), inner, solve, config.iterations, average
        )
    curvature = CURVATURES[config.solver](config.fd_scale)
    return lambda params, problem: unrolled(
        levels_of(problem, params, config.scope), inner, curvature, average
    )


def plain(params: Params, problem: BilevelProblem) -> Step:
    """Without a lower level: the gradient of the upper loss at theta."""
    at = leaves(params)
    upper = problem.upper(at)
    return Step(filled(gradient(upper, at), params), None, upper.detach())


def single(params: Params, problem: BilevelProblem) -> Step:
    """Single level (Table 8): the gradient of lower + upper at theta."""
    at = leaves(params)
    lower, upper = problem.both(at)
    return Step(filled(gradient(lower + upper, at), params), lower.detach(), upper.detach())


def unrolled(levels: Levels, inner: Inner, curvature: Curvature, reduce: Reduce) -> Step:
    """Explicit inner steps, and their derivatives from the last step to the first.

    Args:
        levels: both losses.
        inner: options of the inner steps.
        curvature: how products with second derivatives are computed; ``slope_only`` drops them (first order).
        reduce: mean over ranks.
    """
    here, path = levels.start, []
    value: Tensor | None = None
    for _ in range(inner.steps):
        point = curvature(levels.lower, here)
        value = point.value if value is None else value
        slope = reduce(only(point.gradient, levels.ahead))
        rate = inner.rate(here, slope)
        path.append((rate, point.product))
        here = moved(here, slope, -rate)
    del point
    upper, total = _upper(levels, here)
    if curvature is slope_only:
        return _step(levels, value, upper, total, here, slope, None)
    v = u = reduce(only(total, slope))
    while path:
        rate, product = path.pop()
        total = moved(total | u, product(u), -rate)
        u = only(total, slope)
        if path:
            u = reduce(u)
    return _step(levels, value, upper, total, here, slope, v)


def implicit(
    levels: Levels,
    inner: Inner,
    solve: LinearSolver,
    iterations: int,
    reduce: Reduce,
) -> Step:
    r"""An implicit inner step; its derivative solves a linear system.

    .. math:: \theta^* = \arg\min_\phi L_{pred}(\phi) + \|\phi - \theta\|^2 / 2 \gamma
              \iff \theta^* = \theta - \gamma \nabla L_{pred}(\theta^*)

    It is approximated by n fixed-point iterations :math:`\phi \leftarrow \theta - \gamma \nabla
    L_{pred}(\phi)` from theta; the first is Eq. 24. By the implicit function theorem, with H the Hessian of
    L_pred at theta*,

    .. math:: \nabla_\theta [L_A + L_M](\theta^*(\theta)) = u, \quad (I + \gamma H) \, u = v .

    Leaves x that do not look ahead get :math:`\partial_x [L_A + L_M] - \gamma \, \partial_x
    \langle \nabla L_{pred}, u \rangle`.

    Args:
        levels: both losses.
        inner: gamma and the number n of fixed-point iterations.
        solve: solver of the linear system.
        iterations: iterations of ``solve``, with one double backward pass each.
        reduce: mean over ranks.
    """
    here, value = levels.start, None
    for _ in range(inner.steps):
        point = slope_only(levels.lower, here)
        value = point.value if value is None else value
        slope = reduce(only(point.gradient, levels.ahead))
        rate = inner.rate(levels.start, slope)
        here = moved(levels.start, slope, -rate)
    upper, total = _upper(levels, here)
    v = reduce(only(total, slope))
    point = kept_graph(levels.lower, here)

    def product(u: Params) -> Params:
        found = point.product(u)
        return found | reduce(only(found, slope))

    solution = solve(product, v, rate, iterations)
    total = moved(total | solution.u, solution.mixed, -rate)
    return _step(levels, value, upper, total, here, slope, v)


SOLVERS: dict[str, Solver] = {"single": single}
"""Solvers without an inner step, by the name that ``--bilevel.solver`` takes."""
CURVATURES: dict[str, Callable[[float], Curvature]] = {
    "first_order": lambda fd_scale: slope_only,
    "fd": one_sided,
    "fd_central": central,
    "itd": lambda fd_scale: kept_graph,
    "hvp": lambda fd_scale: recomputed_graph,
}
"""How solvers with explicit inner steps take products with second derivatives, from ``fd_scale``."""
LINEAR_SOLVERS: dict[str, LinearSolver] = {"cg": conjugate_gradients, "neumann": neumann_series}
"""Linear solvers for the implicit inner step."""


def _upper(levels: Levels, star: Params) -> tuple[Tensor, Params]:
    at = leaves(star)
    upper = levels.upper(at)
    return upper.detach(), filled(gradient(upper, at), at)


def _step(
    levels: Levels,
    lower: Tensor | None,
    upper: Tensor,
    total: Params,
    star: Params,
    ahead: Collection[str],
    v: Params | None,
) -> Step:
    start = only(levels.start, ahead)
    share = None
    if v is not None:
        length = norm(v)
        share = torch.where(length > 0, norm(difference(v, total, 1.0)) / length, 0)
    return Step(
        levels.finish(total),
        lower,
        upper,
        inner_step_norm=norm(difference(start, star, 1.0)) / norm(start),
        hessian_share=share,
    )


def _as_it_is(tensors: Params) -> Params:
    return tensors
