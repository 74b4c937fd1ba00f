"""The backbone may pass by itself: every solver that passes it once then gives the same gradient."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch

from bodvcl.bilevel.solvers import make_solver
from bodvcl.config.passes import Passes, bilevel_of, passes
from bodvcl.config.schema import BilevelConfig, ClipConfig, ModelConfig, TrainConfig
from bodvcl.engine.assemble import build_learner, loss_options
from bodvcl.engine.problem import BatchProblem
from bodvcl.engine.ranks import Ranks, World
from bodvcl.engine.step import step_gradient

ALONE = Ranks(World(), torch.device("cpu"))
SHARES = (0.25, 0.75)
BACKBONE = "encoder.backbone."


def gradient_of(config: TrainConfig, apart: bool):
    """Gradient and values of a step of two parts; and the learner, whose statistics it has advanced."""
    torch.manual_seed(0)
    learner = build_learner(config).double().train()
    clips = torch.randn(2, 8, 3, 6, 16, 16, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    videos = torch.arange(4).repeat_interleave(2)
    problems = [
        (share, BatchProblem(learner, part, videos, loss_options(config), None))
        for share, part in zip(SHARES, clips)
    ]
    params = learner.trainable()
    given = {n: p for n, p in params.items() if not (apart and n.startswith(BACKBONE))}
    collect = (lambda parts: nullcontext()) if apart else None
    found = step_gradient(make_solver(bilevel_of(config)), given, problems, ALONE, None, collect=collect)
    collected = {n: p.grad for n, p in params.items() if p.grad is not None}
    assert set(collected) == ({n for n in params if n.startswith(BACKBONE)} if apart else set())
    return found.gradient | collected, found.values, learner


@pytest.mark.parametrize("method", ["simclr", "byol"])
@pytest.mark.parametrize(
    "options",
    [
        {"decouple": "none"},
        {"decouple": "pred", "bilevel": BilevelConfig(solver="single", lower_share=0.5)},
        {"bilevel": BilevelConfig(solver="single")},
        *(
            {"bilevel": BilevelConfig(solver=solver, gamma=0.01)}
            for solver in ("fd", "fd_central", "itd", "hvp", "cg", "neumann", "first_order")
        ),
    ],
    ids=lambda options: str(options["bilevel"].solver if "bilevel" in options else "plain"),
)
def test_the_gradient_is_that_of_a_backbone_whose_parameters_the_solver_sees(method, options):
    clip, model = ClipConfig(frames=6, size=16), ModelConfig(width=4, embed_dim=12, hidden_dim=16)
    config = TrainConfig(method=method, model=model, clip=clip, **options)
    assert passes(bilevel_of(config)) == Passes(1, 1)
    whole, values, learner = gradient_of(config, apart=False)
    apart, other_values, other_learner = gradient_of(config, apart=True)
    assert apart.keys() == whole.keys()
    for name, want in whole.items():
        assert torch.allclose(apart[name], want, rtol=1e-9, atol=1e-12), name
    for name, want in values.items():
        assert torch.allclose(other_values[name], want, rtol=1e-9), name
    for (name, want), got in zip(learner.named_buffers(), other_learner.buffers(), strict=True):
        assert torch.equal(got, want), name
