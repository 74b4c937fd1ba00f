"""A whole training step, from clips on the device to moved weights, for every solver and scope.

``ratio_to_plain`` is against the plain method of the same group; ``mfu`` counts the passes that the solver
makes. Before anything is timed, the loss of the fast route is compared with the reference route's on the same
clips, in float32 and without a finite difference, which magnifies rounding. The larger networks need a GPU.
"""

from __future__ import annotations

import dataclasses
import functools
import statistics
import time
from dataclasses import dataclass

import pytest
import torch
from timing import event_seconds

from bodvcl.bilevel.solvers import make_solver
from bodvcl.config.passes import bilevel_of, differentiates_twice, passes
from bodvcl.config.schema import (
    BilevelConfig,
    ClipConfig,
    KoopmanConfig,
    ModelConfig,
    PredictionConfig,
    TrainConfig,
)
from bodvcl.engine import losses
from bodvcl.engine.assemble import build_learner, loss_options
from bodvcl.engine.compiled import compile_step
from bodvcl.engine.device import pick_device
from bodvcl.engine.flops import forward_flops, peak_of, step_flops
from bodvcl.engine.precision import clip_dtype, pick_arithmetic, pick_lower, set_float32
from bodvcl.engine.problem import BatchProblem
from bodvcl.engine.ranks import Ranks, World
from bodvcl.engine.step import step_gradient
from bodvcl.models.layout import memory_layout
from bodvcl.models.streams import koopman_streams
from bodvcl.objectives.base import ObjectiveInput
from bodvcl.objectives.simclr import SimCLR
from bodvcl.optim.factory import make_optimizer

DEVICE = pick_device("auto")
ALONE = Ranks(World(), DEVICE)
VIEWS = 2


@dataclass(frozen=True)
class Case:
    """A network and its clips."""

    model: ModelConfig
    clip: ClipConfig
    videos: int


PROJECTOR = {"embed_dim": 128, "hidden_dim": 2048, "projector_layers": 3, "projector_norm": False}
CASES = {
    "slow_r50 8x224x224": Case(
        ModelConfig("slow_r50", **PROJECTOR), ClipConfig(frames=8, stride=8, size=224), 16
    ),
    "r2plus1d_18 16x112x112": Case(
        ModelConfig("r2plus1d_18", **PROJECTOR), ClipConfig(frames=16, stride=4, size=112), 16
    ),
    "tiny 8x48x48": Case(ModelConfig(), ClipConfig(), 16),
}
METHODS = {
    "none": ("none", BilevelConfig()),
    "bod, first_order, head": ("bod", BilevelConfig("first_order", scope="head")),
    "bod, fd, head": ("bod", BilevelConfig("fd", scope="head")),
    "bod, fd": ("bod", BilevelConfig("fd", scope="all")),
    "bod, first_order": ("bod", BilevelConfig("first_order", scope="all")),
    "pred, fd": ("pred", BilevelConfig("fd", scope="all")),
    **{
        f"bod, {solver}": ("bod", BilevelConfig(solver, scope="all"))
        for solver in ("single", "fd_central", "itd", "hvp", "cg", "neumann")
    },
    "bod, first_order, lower as upper": ("bod", BilevelConfig("first_order", scope="all")),
    **{f"bod, {solver}, head": ("bod", BilevelConfig(solver, scope="head")) for solver in ("itd", "hvp")},
}
"""The most important first: where the time ends, the last are missing."""
PLAIN: dict[tuple[str, bool], float] = {}
"""Median seconds of the plain method's step, by case and route."""


def make_config(case: Case, method: str, fast: bool, precision: str) -> TrainConfig:
    decouple, bilevel = METHODS[method]
    config = TrainConfig(
        decouple=decouple,
        fast=fast,
        precision=precision,
        model=case.model,
        clip=case.clip,
        bilevel=dataclasses.replace(bilevel),
    )
    config.koopman.max_gain = None
    if method.endswith("lower as upper"):
        config.lower_precision = "upper"
    return config


def make_step(case: Case, config: TrainConfig):
    """A function that makes one step and returns its loss."""
    arithmetic = pick_arithmetic(config.precision, config.fast, DEVICE)
    lower = pick_lower(config.lower_precision, bilevel_of(config), arithmetic, DEVICE)
    set_float32(arithmetic, lower)
    torch.backends.cudnn.benchmark = config.fast  # as in training
    layout = memory_layout(config.fast)
    learner = build_learner(config).to(DEVICE).to(memory_format=layout).train()
    functions = losses.PLAIN
    if config.compile:
        functions = compile_step(learner, DEVICE, fast=config.fast, twice=differentiates_twice(config))
    generator = torch.Generator().manual_seed(0)
    shape = (case.videos * VIEWS, 3, case.clip.frames, case.clip.size, case.clip.size)
    dtype = clip_dtype(bilevel_of(config), arithmetic, lower, config.fast)  # as in training
    clips = torch.randn(shape, generator=generator).to(DEVICE, dtype, memory_format=layout)
    videos = torch.arange(case.videos, device=DEVICE).repeat_interleave(VIEWS)
    params, solve = learner.trainable(), make_solver(bilevel_of(config))
    optimizer = make_optimizer(params.values(), config.optim, 1e-5, config.fast)

    def step() -> float:
        problem = BatchProblem(
            learner,
            clips,
            videos,
            loss_options(config),
            arithmetic.autocast,
            lower_autocast=lower.autocast,
            functions=functions,
        )
        found = step_gradient(solve, params, [(1.0, problem)], ALONE, None)
        for name, p in params.items():
            p.grad = found.gradient[name]
        optimizer.step()
        return found.values["loss"].item()

    return step


@functools.cache
def first_loss(name: str, method: str, fast: bool) -> float:
    """Loss of the first step in float32."""
    case = CASES[name]
    return make_step(case, make_config(case, method, fast, "fp32"))()


FIRST = tuple(METHODS)[:4]
ORDER = [(name, method, fast) for fast in (True, False) for name in CASES for method in METHODS]
ORDER.sort(key=lambda one: (not one[2], one[1] not in FIRST))
IDS = [f"{name}-{method}-{'fast' if fast else 'no-fast'}" for name, method, fast in ORDER]


def losses_seconds(case: Case) -> float:
    """Seconds on a GPU of the split and the losses of this case, forward and backward, without backbone."""
    clips = case.videos * VIEWS
    x = torch.randn(clips, case.clip.frames, case.model.embed_dim, device=DEVICE, requires_grad=True)
    videos = torch.arange(case.videos, device=DEVICE).repeat_interleave(VIEWS)

    def call() -> None:
        streams = koopman_streams(x, KoopmanConfig(), PredictionConfig())
        losses = SimCLR()(ObjectiveInput(streams.embeddings, videos, VIEWS)).values()
        torch.autograd.grad(torch.stack([streams.lower, *losses]).sum(), x)

    call()
    return event_seconds(call)


@pytest.mark.parametrize(("name", "method", "fast"), ORDER, ids=IDS)
def test_step(benchmark, name, method, fast):
    case = CASES[name]
    if not name.startswith("tiny"):
        if DEVICE.type == "cpu":
            pytest.skip("needs a GPU")
        if not fast and method not in ("none", "bod, first_order"):
            pytest.skip("the reference route is timed for two methods")
    comparable = "bod, first_order" if method.startswith("bod") else "none"
    assert first_loss(name, comparable, fast) == pytest.approx(first_loss(name, comparable, False), rel=1e-3)

    config = make_config(case, method, fast, "auto")
    step = make_step(case, config)
    clips = case.videos * VIEWS
    benchmark.group = f"training step, {name}, {clips} clips, {'fast' if fast else 'no-fast'}"
    step()
    if DEVICE.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    benchmark.pedantic(step, warmup_rounds=1, rounds=5)
    if benchmark.disabled:  # by --benchmark-disable: results are compared, nothing is timed
        return
    median = benchmark.stats.stats.median
    if method == "none":
        PLAIN[name, fast] = median
    found = {"clips": clips, "clips_per_second": clips / median, "passes": passes(bilevel_of(config))[:2]}
    if (name, fast) in PLAIN:
        found["ratio_to_plain"] = median / PLAIN[name, fast]
    if DEVICE.type == "cuda":
        found["peak_memory_gb"] = torch.cuda.max_memory_allocated() / 1e9
        if method == "bod, fd, head" and fast:
            found["share_of_losses"] = losses_seconds(case) / median
    arithmetic = pick_arithmetic(config.precision, fast, DEVICE)
    if peak := peak_of(DEVICE, arithmetic.name):
        operations = step_flops(forward_flops(case.model, case.clip), passes(bilevel_of(config)))
        found["mfu"] = operations * clips / median / peak
    benchmark.extra_info |= found


def test_share_of_a_step_beyond_the_backbone(benchmark):
    """Koopman, losses, bi-level arithmetic and the optimiser: what a step of the tiny network takes beyond
    three forward and backward passes of backbone and projector in the same arithmetic."""
    case = CASES["tiny 8x48x48"]
    config = make_config(case, "bod, fd", True, "auto")
    whole, bare = make_step(case, config), make_passes(case, config)
    seconds: dict[str, list[float]] = {"whole": [], "bare": []}
    for _ in range(10):
        for kind, run in (("whole", whole), ("bare", bare)):
            start = time.perf_counter()
            run()
            seconds[kind].append(time.perf_counter() - start)
    benchmark.group = "training step, tiny, beyond the backbone"
    benchmark.pedantic(whole, rounds=3)
    medians = {kind: statistics.median(values[2:]) for kind, values in seconds.items()}
    benchmark.extra_info |= medians | {"share_beyond": 1 - medians["bare"] / medians["whole"]}


def make_passes(case: Case, config: TrainConfig):
    """The backbone's and projector's share of a step with one-sided differences: two passes of the lower
    level, one of the upper."""
    autocast = pick_arithmetic(config.precision, config.fast, DEVICE).autocast
    layout = memory_layout(config.fast)
    encoder = build_learner(config).to(DEVICE).to(memory_format=layout).train().encoder
    shape = (case.videos * VIEWS, 3, case.clip.frames, case.clip.size, case.clip.size)
    clips = torch.randn(shape).to(DEVICE, memory_format=layout)
    parameters = list(encoder.parameters())

    def passes() -> None:
        for dtype in (None, autocast, None):
            with torch.autocast(DEVICE.type, dtype, enabled=dtype is not None):
                embeddings = encoder(clips)
            torch.autograd.grad(embeddings.float().square().sum(), parameters)
        if DEVICE.type == "cuda":
            torch.cuda.synchronize()

    return passes
