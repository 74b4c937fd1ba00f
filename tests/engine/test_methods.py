"""Every method through the command line: a few steps, what they leave, and going on after a stop."""

from __future__ import annotations

import json
import math

import pytest
import torch
from patience import LONG
from processes import finish, start
from same_training import assert_same_movement

from bodvcl.cli.train import main
from bodvcl.config.parse import load_yaml
from bodvcl.engine.assemble import build_learner
from bodvcl.engine.checkpoint import LAST
from bodvcl.engine.metrics import METRICS

STREAM_METHODS = ("simclr", "moco", "byol", "swav")
OWN = {
    "simclr": "",
    "moco": "--moco.queue 32",
    "byol": "",
    "swav": "--swav.prototypes 8 --swav.freeze 0.4",
    "dualvar": "--clip.views 3 --clip.twin",
    "hdc": "--clip.views 3 --clip.twin",
}
QUIET = "--log.no-probe --log.no-report"
COMBINATIONS = [(m, d) for m in STREAM_METHODS for d in ("none", "pred", "bod")]
COMBINATIONS += [("dualvar", "none"), ("hdc", "none")]


def train(tiny, run, method, decouple, more=""):
    options = f"--method {method} --decouple {decouple} {OWN[method]} {QUIET} --run-dir {run} {more}"
    assert main([*tiny, *options.split()]) == 0
    return run


def learner_state(run):
    return torch.load(run / LAST, weights_only=True)["learner"]


def log(run):
    return [json.loads(line) for line in (run / METRICS).read_text().splitlines()]


def check(run, method, decouple, steps):
    """Finite losses under the right names; everything that is trained has moved, targets by a little."""
    config = load_yaml(run / "config.yaml")
    start, end = build_learner(config), learner_state(run)
    moved = {name: not torch.equal(p, end[name]) for name, p in start.named_parameters()}
    still = [name for name, has in moved.items() if not has]
    assert still == [], "parameters that did not move"
    names = {"static", "dynamic"} if decouple == "bod" else {"video"}
    names = {"dualvar": {"clip", "coherent", "rank"}, "hdc": {"spatial", "temporal"}}.get(method, names)
    lines = log(run)
    assert len(lines) == steps
    for line in lines:
        assert {f"loss_{name}" for name in names} <= line.keys()
        assert ("loss_pred" in line) == (decouple != "none")
        assert all(math.isfinite(v) for v in line.values() if isinstance(v, float))
    if method in ("moco", "byol"):
        for name, p in start.target.named_parameters():
            drift = (end[f"target.{name}"] - p).norm()
            assert drift < 0.1 * (end[f"encoder.{name}"] - p).norm(), name
    if method == "moco":
        assert int(end["objective.queue.count"]) == steps * 4 * config.clip.views
        assert [line["queue_filled"] for line in lines] == pytest.approx(
            [min(1.0, k * 4 * config.clip.views / 32) for k in range(steps)]
        )
    if method == "swav":
        norms = end["objective.prototypes"].norm(dim=-1)
        torch.testing.assert_close(norms, torch.ones_like(norms), rtol=0, atol=1e-6)


@pytest.mark.parametrize(("method", "decouple"), COMBINATIONS)
def test_every_method_trains(tiny, tmp_path, method, decouple):
    run = train(tiny, tmp_path / "r", method, decouple, "--max-steps 4 --bilevel.solver first_order")
    check(run, method, decouple, 4)


@pytest.mark.slow
@pytest.mark.parametrize("scope", ["all", "head"])
@pytest.mark.parametrize(
    "solver", ["fd", "fd_central", "itd", "hvp", "cg", "neumann", "first_order", "single"]
)
@pytest.mark.parametrize("method", ["moco", "byol", "swav"])
def test_every_method_trains_with_every_solver(tiny, tmp_path, method, solver, scope):
    if solver == "single" and scope == "head":
        pytest.skip("nothing looks ahead")
    more = f"--max-steps 3 --bilevel.solver {solver} --bilevel.scope {scope}"
    run = train(tiny, tmp_path / "r", method, "bod", more)
    check(run, method, "bod", 3)


@pytest.mark.slow
@pytest.mark.parametrize(("method", "decouple"), COMBINATIONS)
def test_every_method_trains_by_the_reference_formulas_and_with_four_views(tiny, tmp_path, method, decouple):
    views = "" if method == "dualvar" else "--clip.views 4"
    run = train(tiny, tmp_path / "r", method, decouple, f"--no-fast {views} --max-steps 3")
    check(run, method, decouple, 3)


@pytest.mark.parametrize(
    "more",
    [
        "--bilevel.lower-share 0.5",
        "--bilevel.lower-share 0.5 --bilevel.scope all",
        "--prediction.strict --bilevel.scope all",
        "--model.no-projector-norm",
    ],
)
def test_variants_of_the_lower_level_train(tiny, tmp_path, more):
    run = train(tiny, tmp_path / "r", "byol", "bod", f"{more} --max-steps 2")
    check(run, "byol", "bod", 2)


@pytest.mark.parametrize("method", ["moco", "byol", "swav"])
def test_a_stopped_run_goes_on_bit_for_bit(tiny, tmp_path, method):
    whole = train(tiny, tmp_path / "whole", method, "bod", "--max-steps 4")
    parts = train(tiny, tmp_path / "parts", method, "bod", "--max-steps 2")
    assert main(["--resume", "--run-dir", str(parts), "--max-steps", "4"]) == 0
    a, b = learner_state(whole), learner_state(parts)
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name]), name
    for one, other in zip(log(whole), log(parts), strict=True):
        assert {k: v for k, v in one.items() if k.startswith("loss")} == {
            k: v for k, v in other.items() if k.startswith("loss")
        }


@pytest.mark.parametrize("method", ["moco", "swav"])
def test_parts_of_a_batch_fill_the_same_state(tiny, tmp_path, method):
    run = train(tiny, tmp_path / "r", method, "bod", "--max-steps 3 --accumulate 2")
    check(run, method, "bod", 3)


@pytest.mark.slow
@pytest.mark.parametrize(
    "method", ["moco", pytest.param("byol", marks=LONG), "swav", pytest.param("hdc", marks=LONG)]
)
def test_two_processes_train_as_one(tiny, tmp_path, method):
    """With batch statistics over both, and without the split, which magnifies rounding."""
    more = "--precision fp32 --sync-norm True --optim.name sgd --optim.lr 0.002 --augment.mix 0"
    one = train(tiny, tmp_path / "one", method, "none", f"{more} --max-steps 3")
    two = tmp_path / "two"
    options = f"--method {method} --decouple none {OWN[method]} {QUIET} --run-dir {two} {more} --max-steps 3"
    said = finish(start([*tiny, *options.split()]))
    assert [code for code, *_ in said] == [0, 0], said
    for a, b in zip(log(one), log(two), strict=True):
        assert b["loss"] == pytest.approx(a["loss"], rel=1e-2, abs=1e-2), a["step"]
    a, b = learner_state(one), learner_state(two)
    began = build_learner(load_yaml(one / "config.yaml")).state_dict()
    assert_same_movement(b, a, began)


@pytest.mark.parametrize(("steps", "frozen"), [(2, True), (3, False)])
def test_an_objective_learns_how_much_of_the_run_is_done(tiny, tmp_path, steps, frozen):
    run = train(tiny, tmp_path / "r", "swav", "none", f"--max-steps {steps}")  # of 6, the first 40% frozen
    assert bool(learner_state(run)["objective.frozen"]) == frozen


def test_learning_rates_are_scaled_to_the_batch(tiny, tmp_path):
    rates = []
    for name, more in (("own", ""), ("scaled", "--optim.lr-per 8")):  # the batch has 4 videos
        run = train(tiny, tmp_path / name, "simclr", "none", f"--max-steps 2 --optim.warmup-lr 1e-3 {more}")
        rates.append([json.loads(line)["lr"] for line in (run / METRICS).read_text().splitlines()])
    assert rates[1] == pytest.approx([rate / 2 for rate in rates[0]])
