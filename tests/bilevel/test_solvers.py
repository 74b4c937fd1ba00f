"""The hypergradient against double backward, in float64 on a small smooth network."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.func import functional_call

from bodvcl.bilevel.solvers import PASSES, finite_difference, first_order, make_solver, plain, single

GAMMA = 0.3


class CountingProblem:
    """Two smooth losses of a small network; counts forward passes."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        self.net = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3)).double()
        for p in self.net.parameters():
            p.data = torch.randn(p.shape, generator=generator, dtype=torch.float64) / 2
        self.x = torch.randn(11, 5, generator=generator, dtype=torch.float64)
        self.y = torch.randn(11, 3, generator=generator, dtype=torch.float64)
        self.forwards = 0
        self.params = dict(self.net.named_parameters())

    def _out(self, params):
        self.forwards += 1
        return functional_call(self.net, params, (self.x,))

    def lower(self, params):
        return self._lower(self._out(params))

    def upper(self, params):
        return self._upper(self._out(params))

    def both(self, params):
        out = self._out(params)
        return self._lower(out), self._upper(out)

    def _lower(self, out):
        return (out - self.y).square().mean()

    def _upper(self, out):
        return torch.logsumexp(out @ out.T, -1).mean()


def exact_hypergradient(problem, gamma):
    """(I - gamma H) v by differentiating through the inner step."""
    leaves = {n: p.detach().requires_grad_() for n, p in problem.params.items()}
    g = torch.autograd.grad(problem.lower(leaves), list(leaves.values()), create_graph=True)
    star = {n: p - gamma * d for (n, p), d in zip(leaves.items(), g)}
    return dict(zip(leaves, torch.autograd.grad(problem.upper(star), list(leaves.values()))))


def flat(gradient):
    return torch.cat([g.flatten() for g in gradient.values()])


def relative_error(got, want):
    return float((flat(got) - flat(want)).norm() / flat(want).norm())


def test_finite_difference_is_the_exact_hypergradient_up_to_the_step():
    problem = CountingProblem()
    want = exact_hypergradient(problem, GAMMA)
    errors = [
        relative_error(finite_difference(problem.params, problem, GAMMA, s).gradient, want)
        for s in (1e-3, 1e-4)
    ]
    assert errors[1] < 1e-4
    assert 5 < errors[0] / errors[1] < 20, "a one-sided difference is first order in its step"


def test_first_order_drops_exactly_the_hessian_term():
    problem = CountingProblem()
    want = exact_hypergradient(problem, GAMMA)
    step = first_order(problem.params, problem, GAMMA)
    assert 1e-3 < relative_error(step.gradient, want) < 1
    lower = torch.autograd.grad(problem.lower(problem.params), list(problem.params.values()))
    star = {n: (p - GAMMA * g).detach().requires_grad_() for (n, p), g in zip(problem.params.items(), lower)}
    v = torch.autograd.grad(problem.upper(star), list(star.values()))
    torch.testing.assert_close(list(step.gradient.values()), list(v))


def test_single_level_is_the_gradient_of_the_sum():
    problem = CountingProblem()
    step = single(problem.params, problem)
    want = torch.autograd.grad(
        problem.lower(problem.params) + problem.upper(problem.params), list(problem.params.values())
    )
    torch.testing.assert_close(list(step.gradient.values()), list(want))


def test_plain_ignores_the_lower_level():
    problem = CountingProblem()
    step = plain(problem.params, problem)
    want = torch.autograd.grad(problem.upper(problem.params), list(problem.params.values()))
    torch.testing.assert_close(list(step.gradient.values()), list(want))
    assert step.lower is None


@pytest.mark.parametrize("name", ["plain", "single", "first_order", "fd"])
def test_passes_are_as_stated_and_parameters_untouched(name):
    problem = CountingProblem()
    before = {n: p.detach().clone() for n, p in problem.params.items()}
    make_solver(name, GAMMA, 2e-4)(problem.params, problem)
    assert problem.forwards == PASSES[name][0]
    for n, p in problem.params.items():
        assert torch.equal(p, before[n])
        assert p.grad is None


def test_gradient_is_zero_where_the_upper_loss_is_flat():
    problem = CountingProblem()
    problem._upper = lambda out: out.sum() * 0.0
    step = finite_difference(problem.params, problem, GAMMA, 2e-4)
    assert flat(step.gradient).abs().max() == 0
