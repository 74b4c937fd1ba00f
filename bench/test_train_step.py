"""A whole training step, --fast beside --no-fast, on the same clips; the figure in brackets is the ratio
to the fastest of the group. Equality of the losses and of the gradient is asserted first, in float32 and
without the finite difference, which magnifies rounding."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from bodvcl.bilevel.rules import bilevel_of
from bodvcl.bilevel.solvers import make_solver
from bodvcl.config import TrainConfig
from bodvcl.engine.device import pick_device
from bodvcl.engine.learner import build_learner
from bodvcl.engine.precision import pick_arithmetic
from bodvcl.engine.problem import BatchProblem
from bodvcl.models.layout import memory_layout

VIDEOS = 16


def make_step(decouple: str, fast: bool, precision: str, solver: str | None = None):
    config = TrainConfig(decouple=decouple, fast=fast, precision=precision)
    config.bilevel.solver = solver or config.bilevel.solver
    device = pick_device("auto")
    learner = build_learner(config).to(device, memory_format=memory_layout(fast)).train()
    generator = torch.Generator().manual_seed(0)
    shape = (VIDEOS * config.clip.views, 3, config.clip.frames, config.clip.size, config.clip.size)
    clips = torch.randn(shape, generator=generator).to(device, memory_format=memory_layout(fast))
    videos = torch.arange(VIDEOS, device=device).repeat_interleave(config.clip.views)
    solve = make_solver(bilevel_of(config))
    autocast = pick_arithmetic(precision, fast, device).autocast
    params = learner.trainable()

    def step():
        result = solve(params, BatchProblem(learner, clips, videos, config, autocast))
        return result.upper.item(), result.gradient

    return step


@pytest.mark.parametrize("decouple", ["none", "pred", "bod"])
@pytest.mark.parametrize("fast", [True, False], ids=["fast", "no-fast"])
def test_step(benchmark, decouple, fast):
    loss, gradient = make_step(decouple, fast, "fp32", "first_order")()
    want_loss, want_gradient = make_step(decouple, False, "fp32", "first_order")()
    assert loss == pytest.approx(want_loss, rel=1e-5)
    scale = max(g.abs().max().item() for g in want_gradient.values())
    for name, g in gradient.items():
        torch.testing.assert_close(g, want_gradient[name], rtol=0, atol=2e-3 * scale)

    step = make_step(decouple, fast, "auto")
    benchmark.group = f"training step, tiny backbone, {decouple}, {2 * VIDEOS} clips of 8x48x48"
    benchmark.extra_info |= {"clips": 2 * VIDEOS, "config": dataclasses.asdict(TrainConfig().bilevel)}
    benchmark.pedantic(step, warmup_rounds=1, rounds=5)
    benchmark.extra_info["clips_per_second"] = 2 * VIDEOS / benchmark.stats.stats.median
