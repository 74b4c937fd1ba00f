"""The solvers against double backward through the inner steps, in float64 on a small smooth network."""

from __future__ import annotations

import itertools
from typing import get_args, get_type_hints

import pytest
import torch
from bilevel_problems import (
    GAMMA,
    SOLVERS,
    FlatUpper,
    HalfFeatures,
    HugePrototypes,
    SmallProblem,
    exact_hypergradient,
    explicit_step,
    moving,
    relative_error,
    slope,
    solve,
)

from bodvcl.bilevel import solvers as registry
from bodvcl.bilevel.solvers import make_solver
from bodvcl.config.schema import BilevelConfig

UNROLLED = ("fd", "fd_central", "itd", "hvp")
TOLERANCE = {"fd": 1e-2, "fd_central": 1e-4, "itd": 1e-12, "hvp": 1e-12}


@pytest.mark.parametrize(
    ("solver", "scope", "steps"), list(itertools.product(UNROLLED, ("all", "head"), (1, 2, 5, 10)))
)
def test_the_hypergradient_is_that_of_the_unrolled_steps(solver, scope, steps):
    want = exact_hypergradient(SmallProblem(), steps, scope)
    problem = SmallProblem()
    step = solve(problem, solver=solver, scope=scope, inner_steps=steps)
    assert relative_error(step.gradient, want) < TOLERANCE[solver]
    assert step.gradient.keys() == problem.params.keys()
    for name, p in problem.params.items():
        assert step.gradient[name].shape == p.shape
        assert step.gradient[name].dtype == p.dtype
    assert step.lower == problem.lower(problem.params)


def test_the_one_step_hypergradient_is_the_paper_s_formula():
    """(I - gamma H) v, with H written out in full."""
    problem = SmallProblem()
    names = moving(problem, "all")
    sizes = [problem.params[n].numel() for n in names]
    shapes = [problem.params[n].shape for n in names]

    def lower(flat):
        parts = [t.view(s) for t, s in zip(flat.split(sizes), shapes)]
        return problem.lower({**problem.params, **dict(zip(names, parts))})

    theta = torch.cat([problem.params[n].flatten() for n in names])
    hessian = torch.autograd.functional.hessian(lower, theta)
    v = solve(problem, solver="first_order", scope="all").gradient
    flat_v = torch.cat([v[n].flatten() for n in names])
    want = flat_v - GAMMA * hessian @ flat_v
    step = solve(problem, solver="itd", scope="all")
    torch.testing.assert_close(torch.cat([step.gradient[n].flatten() for n in names]), want)
    share = GAMMA * (hessian @ flat_v).norm() / flat_v.norm()
    torch.testing.assert_close(step.hessian_share, share)
    assert share > 0.1, "the Hessian matters on this problem"


@pytest.mark.parametrize(("solver", "order"), [("fd", 1), ("fd_central", 2)])
def test_differences_have_their_order(solver, order):
    want = exact_hypergradient(SmallProblem(), 1, "all")
    coarse, fine = (
        relative_error(solve(SmallProblem(), solver=solver, scope="all", fd_scale=s).gradient, want)
        for s in (1e-2, 1e-3)
    )
    assert 0.5 < coarse / fine / 10**order < 2


@pytest.mark.parametrize("scope", ["all", "head"])
@pytest.mark.parametrize("steps", [1, 3])
def test_first_order_is_the_upper_gradient_at_the_far_end(scope, steps):
    problem = SmallProblem()
    star = {n: p.detach().requires_grad_() for n, p in problem.params.items()}
    for _ in range(steps):
        ahead = explicit_step(problem, star, moving(problem, scope), GAMMA, twice=False)
        star = {n: p.detach().requires_grad_() for n, p in ahead.items()}
    want = torch.autograd.grad(problem.upper(star), list(star.values()))
    step = solve(problem, solver="first_order", scope=scope, inner_steps=steps)
    torch.testing.assert_close(list(step.gradient.values()), list(want))
    assert step.hessian_share is None


def implicit_step(problem, leaves, names, gamma):
    """theta* = theta - gamma grad L_pred(theta*), iterated until it stands still, with its graph."""
    star = leaves
    for _ in range(60):
        g = slope(problem, star, names, True)
        star = {n: p - gamma * g[n] if n in g else p for n, p in leaves.items()}
    return star


@pytest.mark.parametrize("scope", ["all", "head"])
@pytest.mark.parametrize("solver", ["cg", "neumann"])
def test_implicit_solvers_converge_to_the_derivative_of_the_implicit_step(solver, scope):
    gamma = 0.03  # all eigenvalues of gamma H below 1, as fixed-point iterations and Neumann's series need
    problem = SmallProblem()
    leaves = {n: p.detach().requires_grad_() for n, p in problem.params.items()}
    star = implicit_step(problem, leaves, moving(problem, scope), gamma)
    want = dict(zip(leaves, torch.autograd.grad(problem.upper(star), list(leaves.values()))))
    options = {"solver": solver, "scope": scope, "gamma": gamma}
    errors = [
        relative_error(solve(SmallProblem(), **options, inner_steps=n, iterations=k).gradient, want)
        for n, k in ((1, 2), (10, 6), (10, 40))
    ]
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 1e-5


@pytest.mark.parametrize("scope", ["all", "head"])
def test_one_term_of_neumann_s_series_is_the_explicit_formula_with_the_hessian_at_the_far_end(scope):
    problem = SmallProblem()
    names = moving(problem, scope)
    leaves = {n: p.detach().requires_grad_() for n, p in problem.params.items()}
    star = explicit_step(problem, leaves, names, GAMMA, twice=False)
    star = {n: p.detach().requires_grad_() for n, p in star.items()}
    v = dict(zip(star, torch.autograd.grad(problem.upper(star), list(star.values()))))
    along = sum((g * v[n]).sum() for n, g in slope(problem, star, names, True).items())
    curved = torch.autograd.grad(along, list(star.values()), materialize_grads=True)
    want = {n: v[n] - GAMMA * h for n, h in zip(star, curved)}
    step = solve(problem, solver="neumann", scope=scope, iterations=1)
    torch.testing.assert_close(step.gradient, want)


def test_single_level_is_the_gradient_of_the_sum():
    problem = SmallProblem()
    step = solve(problem, solver="single")
    leaves = {n: p.detach().requires_grad_() for n, p in problem.params.items()}
    lower, upper = problem.lower(leaves), problem.upper(leaves)
    want = torch.autograd.grad(lower + upper, list(leaves.values()))
    torch.testing.assert_close(list(step.gradient.values()), list(want))
    assert (step.lower, step.upper) == (lower, upper)
    assert step.inner_step_norm is None
    assert step.hessian_share is None


def test_plain_ignores_the_lower_level():
    problem = SmallProblem()
    step = make_solver(None)(problem.params, problem)
    leaves = {n: p.detach().requires_grad_() for n, p in problem.params.items()}
    want = torch.autograd.grad(problem.upper(leaves), list(leaves.values()))
    torch.testing.assert_close(list(step.gradient.values()), list(want))
    assert step.lower is None
    assert step.inner_step_norm is None


@pytest.mark.parametrize("scope", ["all", "head"])
@pytest.mark.parametrize("solver", SOLVERS)
def test_the_problem_is_left_as_it_was_but_for_one_advance_of_its_buffer(solver, scope):
    problem = SmallProblem()
    before = {n: p.clone() for n, p in problem.params.items()}
    solve(problem, solver=solver, scope=scope, inner_steps=2)
    for name, p in problem.params.items():
        assert torch.equal(p, before[name])
        assert p.grad is None
        assert not p.requires_grad
    first = (problem.x @ before["backbone.weight"] + before["backbone.bias"]).mean(0)
    assert torch.equal(problem.buffer, first), "the first pass is at theta"


@pytest.mark.parametrize("scope", ["all", "head"])
@pytest.mark.parametrize("solver", SOLVERS)
def test_gradient_is_zero_where_the_upper_loss_is_flat(solver, scope):
    step = solve(FlatUpper(), solver=solver, scope=scope, inner_steps=2)
    for g in step.gradient.values():
        assert torch.equal(g, torch.zeros_like(g))
    if solver != "first_order":
        assert step.hessian_share == 0


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_problem_without_a_head_refuses_scope_head(solver):
    problem = SmallProblem()
    problem.head = frozenset()
    with pytest.raises(ValueError, match="use scope='all'"):
        solve(problem, solver=solver, scope="head")


@pytest.mark.parametrize("solver", ["fd", "fd_central"])
@pytest.mark.parametrize("scope", ["all", "head"])
def test_float32_differences_see_the_hessian(solver, scope):
    """The Hessian's share here is 0.3 to 0.4 of v; the bound leaves rounding a hundredfold."""
    want = exact_hypergradient(SmallProblem(), 1, scope)
    step = solve(SmallProblem(torch.float32), solver=solver, scope=scope)
    assert relative_error(step.gradient, want) < 0.05
    assert all(g.dtype == torch.float32 for g in step.gradient.values())


def test_the_difference_step_does_not_depend_on_parameters_that_the_lower_loss_ignores():
    want = exact_hypergradient(HugePrototypes(), 1, "all")
    step = solve(HugePrototypes(), solver="fd", scope="all")
    assert relative_error(step.gradient, want) < TOLERANCE["fd"]


@pytest.mark.parametrize("solver", ["fd", "fd_central"])
def test_differences_on_the_head_are_not_rounded_to_the_features_precision(solver):
    """Features' gradients in bfloat16 would be off by 2^-9, and a difference of them by 2^-9 / fd_scale."""
    want = solve(HalfFeatures(), solver="itd", scope="head")
    step = solve(HalfFeatures(), solver=solver, scope="head")
    assert relative_error(step.gradient, want.gradient) < 0.03
    assert want.hessian_share > 0.1
    assert all(g.dtype == torch.float32 for g in step.gradient.values())


def test_every_solver_of_the_options_is_registered_once():
    options = get_args(get_type_hints(BilevelConfig)["solver"])
    registered = [*registry.SOLVERS, *registry.CURVATURES, *registry.LINEAR_SOLVERS]
    assert sorted(registered) == sorted(options)
