"""The compiled parts of a step: near to the plain ones, compiled once, with the same names."""

from __future__ import annotations

import copy
import functools
import itertools
import json
import shutil

import processes
import pytest
import torch
from patience import LONG
from torch._dynamo.utils import counters

from bodvcl.cli.train import main
from bodvcl.config.schema import (
    ClipConfig,
    MocoConfig,
    ModelConfig,
    SwavConfig,
    TrainConfig,
)
from bodvcl.engine.assemble import build_learner, loss_options
from bodvcl.engine.compiled import compile_step
from bodvcl.engine.loop import Trainer
from bodvcl.engine.losses import PLAIN
from bodvcl.engine.problem import BatchProblem

CPU = torch.device("cpu")
VIDEOS, VIEWS = 4, 2
METHODS = ("simclr", "moco", "byol", "swav")
QUIET = ["--log.no-probe", "--log.no-report", "--precision", "fp32"]
TWIN = "--decouple none --clip.views 3 --clip.twin"
needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")


@pytest.fixture(autouse=True)
def _other_tests_see_nothing_of_this():
    yield
    torch.compiler.reset()


def make_learner(method, decouple="bod"):
    config = TrainConfig(
        method=method,
        decouple=decouple,
        clip=ClipConfig(size=16, views=VIEWS),
        model=ModelConfig(width=4, embed_dim=12, hidden_dim=16, projector_norm=True),
        moco=MocoConfig(queue=24),
        swav=SwavConfig(prototypes=7, freeze=0),
    )
    learner = build_learner(config).train()
    if method == "moco":
        queue = learner.objective.queue
        generator = torch.Generator().manual_seed(1)
        queue.enqueue(torch.randn(*queue.keys.shape, generator=generator), torch.tensor(True))
    return learner, loss_options(config)


def passes(learner, options, functions=PLAIN):
    """Losses and gradients of both levels and of a single one, for one batch."""
    dtype = next(learner.parameters()).dtype
    shape = (VIDEOS * VIEWS, 3, 8, 16, 16)
    clips = torch.randn(shape, generator=torch.Generator().manual_seed(2)).to(dtype)
    videos = torch.arange(VIDEOS).repeat_interleave(VIEWS)
    params = learner.trainable()
    found = {}
    torch.manual_seed(3)
    problem = BatchProblem(learner, clips, videos, options, None, functions=functions)
    for name, compute in {
        "lower": lambda: problem.lower(params),
        "upper": lambda: problem.upper(params),
        "both": lambda: sum(problem.both(params)),
    }.items():
        loss = compute()
        gradient = torch.autograd.grad(loss, list(params.values()), allow_unused=True)
        found[f"{name} loss"] = loss.detach().double()
        found[f"{name} gradient"] = torch.cat([g.double().flatten() for g in gradient if g is not None])
    return found | {f"key of {name}": key.double() for name, key in problem.keys.items()}


@pytest.mark.slow
@needs_compiler
@pytest.mark.parametrize(
    ("method", "decouple"),
    [
        ("simclr", "bod"),
        ("moco", "pred"),
        *(
            pytest.param(method, decouple, marks=LONG)
            for method, decouple in itertools.product(METHODS, ("bod", "pred"))
            if (method, decouple) not in (("simclr", "bod"), ("moco", "pred"))
        ),
    ],
)
def test_at_most_twice_as_far_from_float64_as_the_plain_step(method, decouple):
    learner, options = make_learner(method, decouple)
    exact = passes(copy.deepcopy(learner).double(), options)
    plain = passes(copy.deepcopy(learner), options)
    functions = compile_step(learner, CPU, fast=True, twice=False)
    assert functions is not PLAIN
    got = passes(learner, options, functions)
    assert got.keys() == exact.keys()
    for name, want in exact.items():
        error, allowed = ((x[name] - want).norm() for x in (got, plain))
        # One number may be right by luck, or be the sum of two that cancel.
        floor = 1e-6 * want.norm() if want.dim() else 5e-6 * want.abs().clamp_min(1)
        assert error <= 2 * allowed + floor, (name, float(error), float(allowed))


@pytest.fixture
def graphs(monkeypatch):
    """The number of graphs that there are after each step. From the third step on a new one is an error, and
    in any step Python that the compiler cannot follow. Its graphs are run without generated code."""
    backend = "aot_eager_decomp_partition"
    strict = functools.partial(torch.compile, fullgraph=True, backend=backend)
    monkeypatch.setattr(torch, "compile", strict)
    step, counted = Trainer._train_step, []

    def watched(self, *arguments):
        with torch.compiler.set_stance("fail_on_recompile" if self.step > 1 else "default"):
            step(self, *arguments)
        counted.append(counters["stats"]["unique_graphs"])

    monkeypatch.setattr(Trainer, "_train_step", watched)
    return counted


@needs_compiler
@pytest.mark.parametrize(
    "options",
    [
        "--method simclr",
        pytest.param("--method moco --precision bf16", marks=pytest.mark.slow),
        *(
            pytest.param(options, marks=[pytest.mark.slow, LONG])
            for options in (
                "--method byol --accumulate 2 --bilevel.scope all --precision bf16",
                "--method swav --swav.freeze 0.7 --koopman.dynamic mean --koopman.mask hard",
                "--method simclr --decouple none --objective.tau 0.2",
                "--method moco --decouple pred --bilevel.solver single",
                "--method simclr --bilevel.scope all --bilevel.lower-share 0.5 --prediction.strict",
                "--method byol --bilevel.solver itd",
                "--method simclr --bilevel.solver cg",
                "--method simclr --no-fast",
                f"--method dualvar {TWIN}",
                f"--method hdc {TWIN}",
            )
        ),
    ],
)
def test_the_compiler_runs_in_the_first_steps_only(tiny, tmp_path, graphs, options):
    """The rate, the momentum, the queue, the prototypes and what is logged change in every step."""
    run = ["--log.every", "2", "--run-dir", str(tmp_path / "r")]
    assert main([*tiny, *QUIET, *options.split(), "--compile", *run]) == 0
    assert len(graphs) == 6
    assert 0 < graphs[1] == graphs[-1]


def names(learner):
    return [list(learner.state_dict()), list(learner.trainable())]


@needs_compiler
@pytest.mark.parametrize("method", METHODS)
def test_names_of_weights_stay(method):
    learner, _ = make_learner(method)
    before = names(learner)
    compile_step(learner, CPU, fast=True, twice=False)
    assert names(learner) == before


def is_compiled(module):
    return module._compiled_call_impl is not None


@needs_compiler
def test_what_is_differentiated_twice_and_the_reference_stay_plain():
    learner, _ = make_learner("byol")
    compile_step(learner, CPU, fast=True, twice=True)
    assert is_compiled(learner.encoder.backbone)
    assert is_compiled(learner.target.backbone)
    assert is_compiled(learner.objective)
    assert not is_compiled(learner.encoder.projector)
    learner, _ = make_learner("byol")
    assert compile_step(learner, CPU, fast=False, twice=False) is PLAIN
    assert is_compiled(learner.encoder.projector)
    assert not is_compiled(learner.objective)


@needs_compiler
def test_an_objective_that_encodes_clips_itself_stays_plain():
    config = TrainConfig(method="dualvar", decouple="none", clip=ClipConfig(views=3, twin=True))
    learner = build_learner(config)
    compile_step(learner, CPU, fast=True, twice=False)
    assert not is_compiled(learner.objective)


@pytest.mark.slow
@LONG
@needs_compiler
def test_two_processes_train_as_the_plain_ones(tiny, tmp_path):
    found = []
    for flag in ("--compile", "--no-compile"):
        run = tmp_path / flag
        options = [*tiny, *QUIET, "--method", "byol", flag, "--max-steps", "2", "--run-dir", str(run)]
        ended = processes.finish(processes.start(options))
        assert [code for code, _, _ in ended] == [0, 0], ended
        found.append([json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()])
    for compiled, plain in zip(*found, strict=True):
        assert compiled["loss"] == pytest.approx(plain["loss"], rel=1e-2)
    assert found[0][0]["grad_norm"] == pytest.approx(found[1][0]["grad_norm"], rel=1e-2)
