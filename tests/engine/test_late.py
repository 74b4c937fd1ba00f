"""A step never waits for the host, and one that is not finite leaves no trace all the same."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from host_reads import HostReads

from bodvcl.cli.train import main
from bodvcl.config.schema import KoopmanConfig
from bodvcl.engine import loop, machinery
from bodvcl.engine.checkpoint import LAST
from bodvcl.engine.late import LateValues, any_not_finite
from bodvcl.engine.loop import Trainer
from bodvcl.models.stream_health import stream_health
from bodvcl.models.streams import koopman_streams, video_stream

QUIET = ["--log.no-probe", "--log.no-report"]
PLAIN = ["--decouple", "none"]
TWIN = [*PLAIN, "--clip.views", "3", "--clip.twin"]
METHODS = {
    "simclr": [],
    "moco": ["--moco.queue", "16"],
    "byol": [],
    "swav": [],
    "plain simclr": PLAIN,
    "dualvar": TWIN,
    "hdc": TWIN,
}
EXACT = ("itd", "hvp", "cg", "neumann")
"""Solvers with exact second derivatives: PyTorch's eigenvalues, on a GPU, wait for it."""


def method_options(name: str) -> list[str]:
    return ["--method", name.removeprefix("plain "), *METHODS[name]]


def steps_logged(run: Path) -> list[int]:
    return [json.loads(line)["step"] for line in (run / "metrics.jsonl").read_text().splitlines()]


# ------------------------------------------------------------ nothing is read back


@pytest.fixture
def reads(monkeypatch) -> HostReads:
    """Counts the reads of every training step. The values of the step before may be read, and so may clips by
    the augmentation of a CPU, which loops over them; a GPU has a kernel for it."""
    counter = HostReads()
    step, settle, finish = Trainer._train_step, Trainer._settle, machinery.finish

    def counted_step(self: Trainer, *arguments: Any) -> None:
        with counter.counting():
            step(self, *arguments)

    def late(self: Trainer, *arguments: Any) -> None:
        with counter.allowed():
            settle(self, *arguments)

    def augmented(*arguments: Any, **options: Any) -> torch.Tensor:
        with counter.allowed():
            return finish(*arguments, **options)

    monkeypatch.setattr(Trainer, "_train_step", counted_step)
    monkeypatch.setattr(Trainer, "_settle", late)
    monkeypatch.setattr(machinery, "finish", augmented)
    return counter


@pytest.mark.parametrize("method", METHODS)
def test_a_step_of_every_method_reads_nothing_back(tiny, tmp_path, reads, method):
    assert main([*tiny, *QUIET, *method_options(method), "--run-dir", str(tmp_path / "r")]) == 0
    assert reads.places == []


@pytest.mark.parametrize(
    "options",
    [
        "--bilevel.solver single --optim.name lamb --koopman.dynamic mean --koopman.mask smooth",
        "--bilevel.solver first_order --optim.name adamw --optim.clip-norm 1",
        "--bilevel.solver fd_central --optim.name lars",
        "--bilevel.solver fd --bilevel.scope all --prediction.strict --accumulate 2",
        *(f"--bilevel.solver {solver}" for solver in EXACT),
    ],
)
def test_no_option_makes_a_step_read_back(tiny, tmp_path, reads, options):
    code = main([*tiny, *QUIET, *options.split(), "--max-steps", "2", "--run-dir", str(tmp_path / "r")])
    assert code == 0
    exact = options.split()[-1] in EXACT
    assert {place.rpartition(":")[0] for place in reads.places} == (
        {"aten::_linalg_eigh at ops/koopman/basis.py"} if exact else set()
    )


def test_the_counter_sees_what_reads_back():
    x, counter = torch.arange(3.0), HostReads()
    reading = [
        lambda: x.sum().item(),
        lambda: x.tolist(),
        lambda: bool(x.sum() > 1),
        lambda: float(x.sum()),
        lambda: x[x > 1],
        lambda: torch.linalg.eigvals(torch.eye(2)),
        lambda: torch.linalg.svdvals(torch.eye(2)),
        lambda: x.cpu(),
        lambda: x.to("cpu"),
        lambda: torch.nonzero(x),
        lambda: torch.equal(x, x),
    ]
    for number, read in enumerate(reading):
        counter.places.clear()
        with counter.counting():
            read()
        assert counter.places, number
    counter.places.clear()
    with counter.counting():
        assert torch.where(x > 1, x, 0).sum().shape == ()
        with counter.allowed():
            x.tolist()
    assert counter.places == []


# ------------------------------------------------------------ what is not finite


def breaks_at(monkeypatch: pytest.MonkeyPatch, broken_step: int, what: str) -> None:
    """The gradient or the loss of one step is NaN."""
    own, calls = loop.step_gradient, [0]

    def step_gradient(*arguments: Any, **options: Any) -> Any:
        found = own(*arguments, **options)
        calls[0] += 1
        if calls[0] != broken_step:
            return found
        if what == "loss":
            return dataclasses.replace(found, values=found.values | {"loss": torch.tensor(math.nan)})
        name = next(iter(found.gradient))
        bad = torch.full_like(found.gradient[name], math.inf)
        return dataclasses.replace(found, gradient=found.gradient | {name: bad})

    monkeypatch.setattr(loop, "step_gradient", step_gradient)


def assert_same_state(got: Any, want: Any, name: str = "") -> None:
    if isinstance(want, dict):
        assert got.keys() == want.keys(), name
        for key in want:
            assert_same_state(got[key], want[key], f"{name}.{key}")
    elif isinstance(want, list | tuple):
        assert len(got) == len(want), name
        for number, (one, other) in enumerate(zip(got, want)):
            assert_same_state(one, other, f"{name}.{number}")
    elif isinstance(want, torch.Tensor):
        assert torch.equal(got, want), name
    else:
        assert got == want, name


@pytest.mark.parametrize(
    ("method", "step", "what"),
    [
        ("simclr", 1, "gradient"),
        ("simclr", 4, "gradient"),
        ("moco", 4, "loss"),
        ("byol", 3, "gradient"),
        ("swav", 6, "loss"),
        ("hdc", 4, "gradient"),
    ],
)
def test_the_state_before_a_broken_step_is_saved_bit_for_bit(
    tiny, tmp_path, monkeypatch, capsys, method, step, what
):
    options = [*tiny, *QUIET, *method_options(method), "--log.save-every", "100"]
    breaks_at(monkeypatch, step, what)
    run = tmp_path / "broken"
    assert main([*options, "--run-dir", str(run)]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith(f"bodvcl train: error: step {step}: {'loss' if what == 'loss' else 'grad_norm'} ")
    assert f"{run / LAST} holds the state after {step - 1} step" in error
    assert steps_logged(run) == list(range(1, step))
    monkeypatch.undo()
    found = torch.load(run / LAST, weights_only=True)
    assert found["step"] == step - 1
    if step > 1:
        short = tmp_path / "short"
        assert main([*options, "--max-steps", str(step - 1), "--run-dir", str(short)]) == 0
        wanted = torch.load(short / LAST, weights_only=True)
        for state in (found, wanted):
            for group in state["optimizer"]["param_groups"]:
                del group["lr"]  # every step sets it
        for part in ("learner", "optimizer", "scaler", "random"):
            assert_same_state(found[part], wanted[part], part)
    assert main(["--resume", "--run-dir", str(run)]) == 0
    assert steps_logged(run) == list(range(1, 7))


def test_a_failing_step_does_not_lose_the_values_of_the_last(tiny, tmp_path, monkeypatch):
    step = Trainer._train_step

    def fails(self: Trainer, *arguments: Any) -> None:
        if self.step == 3:
            raise ZeroDivisionError
        step(self, *arguments)

    monkeypatch.setattr(Trainer, "_train_step", fails)
    with pytest.raises(ZeroDivisionError):
        main([*tiny, *QUIET, "--run-dir", str(tmp_path / "r")])
    assert steps_logged(tmp_path / "r") == [1, 2, 3]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_one_value_that_is_not_finite_is_enough(bad):
    assert not any_not_finite([torch.tensor(1.0), torch.tensor(2.0, dtype=torch.float64)])
    assert any_not_finite([torch.tensor(1.0), torch.tensor(bad)])


# ------------------------------------------------------------ values


def test_health_is_the_mean_over_the_parts_of_a_batch():
    torch.manual_seed(0)
    parts = [koopman_streams(torch.randn(6, 8, 12), KoopmanConfig(), None) for _ in range(2)]
    late = LateValues({"loss": torch.tensor(2.5)}, [(0.25, parts[0]), (0.75, parts[1])], 2)
    assert late.arrived()
    found = late.read()
    one, other = (stream_health(part, 2) for part in parts)
    assert found["loss"] == 2.5
    assert found.keys() == {"loss", *one}
    for name in one:
        want = 0.25 * one[name].item() + 0.75 * other[name].item()
        assert found[name] == pytest.approx(want, rel=1e-6, abs=1e-9), name


def test_late_values_are_those_of_their_step():
    z, loss = torch.randn(4, 8, 12), torch.tensor(1.0)
    streams = video_stream(z)
    late = LateValues({"loss": loss}, [(1.0, streams)], 2)
    want = stream_health(streams, 2)["mean_cosine_video"].item()
    loss.fill_(7.0)
    streams.embeddings["video"].fill_(1.0)
    assert late.read() == pytest.approx({"loss": 1.0} | late.read())
    assert late.read()["mean_cosine_video"] == want
