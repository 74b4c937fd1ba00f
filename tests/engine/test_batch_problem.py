"""The solvers on the networks and losses that are trained, in float64."""

from __future__ import annotations

import pytest
import torch

from bodvcl.bilevel.solvers import make_solver
from bodvcl.config.schema import BilevelConfig, ModelConfig, TrainConfig
from bodvcl.engine.assemble import build_learner, loss_options
from bodvcl.engine.problem import BatchProblem

SOLVERS = ("fd", "fd_central", "itd", "hvp", "cg", "neumann", "first_order")


def relative_error(got, want):
    got, want = (torch.cat([g.flatten() for g in gradient.values()]) for gradient in (got, want))
    return float((got - want).norm() / want.norm())


def solve(solver, scope, steps=1):
    """A difference this short crosses no kink of a ReLU, so that it sees the Hessian that autograd sees."""
    bilevel = BilevelConfig(solver=solver, scope=scope, inner_steps=steps, gamma=0.01, fd_scale=1e-8)
    config = TrainConfig(
        method="byol", model=ModelConfig(width=4, embed_dim=12, hidden_dim=16), bilevel=bilevel
    )
    torch.manual_seed(0)
    learner = build_learner(config).double().train()
    clips = torch.randn(8, 3, 8, 16, 16, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    problem = BatchProblem(
        learner, clips, torch.arange(4).repeat_interleave(2), loss_options(config), autocast=None
    )
    return make_solver(bilevel)(learner.trainable(), problem), learner


@pytest.mark.parametrize(("scope", "steps"), [("all", 1), ("all", 2), ("head", 1)])
def test_exact_solvers_and_short_differences_agree(scope, steps):
    want, _ = solve("itd", scope, steps)
    assert want.hessian_share > 1e-4
    for solver, tolerance in (("hvp", 1e-8), ("fd", 1e-3), ("fd_central", 1e-3)):
        got, _ = solve(solver, scope, steps)
        error = relative_error(got.gradient, want.gradient)
        assert error < tolerance * max(1.0, float(want.hessian_share)), solver
        assert error < float(want.hessian_share) / 10, "closer than without the Hessian"


@pytest.mark.parametrize("scope", ["all", "head"])
@pytest.mark.parametrize("solver", SOLVERS)
def test_every_solver_advances_the_statistics_once_and_gives_every_parameter_a_gradient(solver, scope):
    step, learner = solve(solver, scope)
    counts = [int(b) for name, b in learner.named_buffers() if name.endswith("num_batches_tracked")]
    assert set(counts) == {1}
    for name, p in learner.trainable().items():
        assert step.gradient[name].shape == p.shape
        assert torch.isfinite(step.gradient[name]).all(), name
    objective = [g for name, g in step.gradient.items() if name.startswith("objective.")]
    assert objective
    assert all(g.abs().max() > 0 for g in objective if g.dim() > 1), (
        "the predictor learns from the upper loss"
    )
