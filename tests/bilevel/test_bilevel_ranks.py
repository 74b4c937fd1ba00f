"""Several ranks, each with its share of a batch: threads that average through the hook."""

from __future__ import annotations

import itertools

import pytest
import torch
from bilevel_problems import SOLVERS, Ranks, SmallProblem, relative_error

from bodvcl.bilevel.solvers import make_solver
from bodvcl.config.schema import BilevelConfig

HALVES = (slice(0, 6), slice(6, 12))


def mean(gradients):
    return {name: sum(g[name] for g in gradients) / len(gradients) for name in gradients[0]}


def options(solver, scope, steps):
    return BilevelConfig(solver=solver, scope=scope, inner_steps=steps, max_inner_norm=0.08)


@pytest.mark.parametrize(
    ("solver", "scope", "steps"), list(itertools.product(SOLVERS, ("all", "head"), (1, 3)))
)
def test_two_ranks_give_the_gradient_of_the_whole_batch(solver, scope, steps):
    config = options(solver, scope, steps)
    problem = SmallProblem()
    want = make_solver(config)(problem.params, problem)
    ranks = Ranks(2)

    def one(rank):
        share = SmallProblem(rows=HALVES[rank])
        return make_solver(config, ranks.mean(rank))(share.params, share).gradient

    gradients = ranks.run(one)
    assert relative_error(mean(gradients), want.gradient) < 1e-8
    assert relative_error(gradients[0], gradients[1]) > 1e-3, "the halves differ"
    expected = {"first_order": steps, "cg": steps + 4, "neumann": steps + 4}.get(solver, 2 * steps)
    assert ranks.calls == [expected, expected]


@pytest.mark.parametrize("solver", ["fd", "itd", "first_order"])
def test_without_the_hook_every_rank_looks_ahead_by_itself(solver):
    """The definition that parts of a batch have: the mean of the parts' hypergradients."""
    config = options(solver, "all", 1)
    whole = SmallProblem()
    together = make_solver(config)(whole.params, whole).gradient
    gradients = []
    for rows in HALVES:
        part = SmallProblem(rows=rows)
        gradients.append(make_solver(config)(part.params, part).gradient)
    assert relative_error(mean(gradients), together) > 1e-3


def test_the_mean_over_parts_is_the_gradient_of_the_mean_of_their_own_look_aheads():
    """Accumulation: d/dtheta of the mean over parts of L_upper(theta - gamma grad L_pred(theta))."""
    config = BilevelConfig(solver="itd", scope="all", gamma=0.1)
    parts = [SmallProblem(rows=rows) for rows in HALVES]
    got = mean([make_solver(config)(p.params, p).gradient for p in parts])
    leaves = {n: p.detach().requires_grad_() for n, p in parts[0].params.items()}
    losses = []
    for part in parts:
        g = torch.autograd.grad(
            part.lower(leaves), list(leaves.values()), create_graph=True, materialize_grads=True
        )
        losses.append(part.upper({n: p - 0.1 * d for (n, p), d in zip(leaves.items(), g)}))
    want = torch.autograd.grad(sum(losses) / 2, list(leaves.values()))
    assert relative_error(got, dict(zip(leaves, want))) < 1e-12
