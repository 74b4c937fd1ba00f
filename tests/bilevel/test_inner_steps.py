"""How far the inner steps go: the bound on their length, and what is logged of it."""

from __future__ import annotations

import pytest
import torch
from bilevel_problems import GAMMA, SOLVERS, SmallProblem, exact_hypergradient, moving, relative_error, solve


def norm(tensors):
    return torch.cat([t.flatten() for t in tensors]).norm()


def relative_slope(problem, scope):
    """|grad L_pred| / |theta| at theta, of the parameters that look ahead."""
    names = moving(problem, scope)
    leaves = {n: p.detach().requires_grad_() for n, p in problem.params.items()}
    g = torch.autograd.grad(problem.lower(leaves), [leaves[n] for n in names])
    return norm(g) / norm([problem.params[n] for n in names])


@pytest.mark.parametrize("scope", ["all", "head"])
@pytest.mark.parametrize("solver", SOLVERS)
def test_the_length_of_the_inner_step_is_relative_to_what_looks_ahead(solver, scope):
    problem = SmallProblem()
    step = solve(problem, solver=solver, scope=scope)
    torch.testing.assert_close(step.inner_step_norm, GAMMA * relative_slope(problem, scope))


@pytest.mark.parametrize("scope", ["all", "head"])
@pytest.mark.parametrize("solver", SOLVERS)
def test_a_step_within_the_bound_is_taken_as_it_is(solver, scope):
    free = solve(SmallProblem(), solver=solver, scope=scope, inner_steps=2)
    bound = solve(SmallProblem(), solver=solver, scope=scope, inner_steps=2, max_inner_norm=10.0)
    torch.testing.assert_close(bound.gradient, free.gradient, rtol=0, atol=0)


@pytest.mark.parametrize("scope", ["all", "head"])
@pytest.mark.parametrize("solver", SOLVERS)
def test_a_longer_step_is_shortened_and_differentiated_with_the_smaller_gamma(solver, scope):
    longest = 0.01
    step = solve(SmallProblem(), solver=solver, scope=scope, max_inner_norm=longest)
    assert step.inner_step_norm.item() == pytest.approx(longest)
    rate = float(longest / relative_slope(SmallProblem(), scope))
    assert rate < GAMMA / 5
    same = solve(SmallProblem(), solver=solver, scope=scope, gamma=rate)
    assert relative_error(step.gradient, same.gradient) < 1e-9
    if solver == "itd":
        assert relative_error(step.gradient, exact_hypergradient(SmallProblem(), 1, scope, rate)) < 1e-12


@pytest.mark.parametrize("scope", ["all", "head"])
def test_every_one_of_several_steps_is_bounded(scope):
    step = solve(SmallProblem(), solver="itd", scope=scope, inner_steps=3, max_inner_norm=0.01)
    assert 0.02 < step.inner_step_norm < 0.0302


@pytest.mark.parametrize("solver", ["fd", "fd_central", "itd", "hvp"])
def test_the_share_of_the_hessian_is_the_distance_to_the_first_order_gradient(solver):
    problem = SmallProblem()
    names = moving(problem, "all")
    v = solve(SmallProblem(), solver="first_order", scope="all", inner_steps=3).gradient
    step = solve(problem, solver=solver, scope="all", inner_steps=3)
    want = norm([step.gradient[n] - v[n] for n in names]) / norm([v[n] for n in names])
    torch.testing.assert_close(step.hessian_share, want)
    assert want > 0.1
