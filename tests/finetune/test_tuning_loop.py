"""The training loop of tasks with labels: resumed as uninterrupted, two ranks as one, the best epoch kept."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from finetune import toy_task
from finetune.toy_task import STEPS, ToyTask, options, train

from bodvcl.engine.checkpoint import LAST
from bodvcl.engine.guard import Diverged
from bodvcl.engine.metrics import METRICS
from bodvcl.errors import ConfigError, DataError
from bodvcl.finetune.best import BEST
from bodvcl.finetune.loop_options import loop_contradictions, refuse_contradictions
from bodvcl.finetune.rate import rate_at


def lines(folder):
    return [json.loads(line) for line in (folder / METRICS).read_text().splitlines()]


def state(folder):
    return torch.load(folder / LAST, weights_only=True)


def assert_same_state(folder, other):
    one, two = state(folder), state(other)
    assert one["step"] == two["step"]
    for name, value in one["learner"].items():
        assert torch.equal(value, two["learner"][name]), name
    for number, values in one["optimizer"]["state"].items():
        for name, value in values.items():
            assert torch.equal(value, two["optimizer"]["state"][number][name]), (number, name)
    assert one["progress"]["best"] == two["progress"]["best"]


class Stops(ToyTask):
    """Asks this process to end, in one of its steps."""

    def __init__(self, at, **more):
        super().__init__(**more)
        self._left = at

    def loss(self, batch):
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGTERM)
        return super().loss(batch)


@pytest.mark.parametrize("at", [1, 6, STEPS, 2 * STEPS], ids=["first", "middle", "epoch", "second epoch"])
@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_resumed_as_uninterrupted_with_dropout(tmp_path, at, name):
    chosen = {"optim": {"name": name, "warmup": 0.3, "clip_norm": 1.0}, "keep": "best"}
    train(ToyTask(dropout=0.5), options(**chosen), tmp_path / "whole")
    ended = train(Stops(at, dropout=0.5), options(**chosen), tmp_path / "parts")
    assert (ended.signal, ended.step) == (signal.SIGTERM, at)
    again = train(ToyTask(dropout=0.5), options(**chosen, resume=True), tmp_path / "parts")
    assert again.signal is None
    assert again.step == again.total == 3 * STEPS
    assert again.seconds > ended.seconds
    assert_same_state(tmp_path / "parts", tmp_path / "whole")
    keys = ("step", "loss", "grad_norm", "lr", "val_score")
    for one, two in zip(lines(tmp_path / "parts"), lines(tmp_path / "whole"), strict=True):
        assert [one.get(key) for key in keys] == [two.get(key) for key in keys]


def test_each_group_has_its_share_of_the_rate(tmp_path):
    """One step of plain gradient descent: the first layer moves half as far as with a scale of 1."""
    chosen = {"optim": {"momentum": 0.0, "nesterov": False, "weight_decay": 0.0}, "epochs": 1}
    moved = {}
    for scale in (0.5, 1.0):
        task = Stops(1, scale=scale)
        before = {n: p.detach().clone() for n, p in task.model.named_parameters()}
        train(task, options(**chosen), tmp_path / str(scale))
        moved[scale] = {n: p.detach() - before[n] for n, p in task.model.named_parameters()}
    torch.testing.assert_close(moved[0.5]["0.weight"] * 2, moved[1.0]["0.weight"])
    torch.testing.assert_close(moved[0.5]["4.weight"], moved[1.0]["4.weight"])
    assert moved[1.0]["0.weight"].abs().max() > 0


def test_parameters_in_no_group_stay_as_they_are(tmp_path):
    class Head(ToyTask):
        def groups(self):
            return super().groups()[:1]

    task = Head()
    before = task.model[0].weight.detach().clone()
    train(task, options(), tmp_path)
    assert torch.equal(task.model[0].weight, before)


def test_validation_after_the_first_and_the_last_epoch_and_every_n(tmp_path):
    task = ToyTask()
    ended = train(task, options(epochs=8, validate_every=3), tmp_path)
    found = [line["step"] // STEPS for line in lines(tmp_path) if "val_score" in line]
    assert found == [1, 3, 6, 8]
    assert task.validated == [False] * 4
    assert task.model.training
    assert task.closed
    assert ended.best.value == max(line["val_score"] for line in lines(tmp_path) if "val_score" in line)
    none = ToyTask()
    train(none, options(validate_every=0), tmp_path / "none")
    assert not none.validated


def test_the_best_epoch_is_kept(tmp_path):
    """The earlier of equals, and NaN is never the best."""
    scores = [0.1, 0.7, 0.7, float("nan")]
    kept = ToyTask(metrics=scores)
    ended = train(kept, options(epochs=4, keep="best"), tmp_path / "best")
    assert (ended.best.step, ended.best.value) == (2 * STEPS, 0.7)
    for name, value in torch.load(tmp_path / "best" / BEST, weights_only=True)["model"].items():
        assert torch.equal(value, kept.model.state_dict()[name])
    stopped = Stops(2 * STEPS + 1, metrics=scores)
    train(stopped, options(epochs=4), tmp_path / "stopped")
    last = ToyTask(metrics=scores)
    train(last, options(epochs=4), tmp_path / "last")
    assert not (tmp_path / "last" / BEST).exists()
    assert not torch.equal(last.model[0].weight, kept.model[0].weight)


def test_a_loss_that_is_not_finite_ends_the_training(tmp_path):
    class Breaks(ToyTask):
        def loss(self, batch):
            loss = super().loss(batch)
            self.count = getattr(self, "count", 0) + 1
            return loss * float("nan") if self.count == 7 else loss

    with pytest.raises(Diverged, match=r"step 7: loss, grad_norm is not finite.*state after 5 steps"):
        train(Breaks(), options(log={"save_every": 5}), tmp_path)
    assert state(tmp_path)["step"] == 5


def test_where_the_clips_end_the_state_is_saved(tmp_path):
    class Ends(ToyTask):
        def batches(self, epoch, start_step):
            yield from super().batches(epoch, start_step)
            if epoch == 1:
                raise DataError("the disk went away")

    with pytest.raises(DataError, match="the disk went away"):
        train(Ends(), options(), tmp_path)
    assert state(tmp_path)["step"] == 2 * STEPS
    train(ToyTask(), options(resume=True), tmp_path)
    train(ToyTask(), options(), tmp_path / "whole")
    assert_same_state(tmp_path, tmp_path / "whole")


@pytest.mark.parametrize(
    ("optim", "rates"),
    [
        (
            {"lr": 0.12, "schedule": "steps", "milestones": (14, 18), "factors": (0.1, 0.01)},
            {0: 0.12, 1399: 0.12, 1400: 0.012, 1799: 0.012, 1800: 0.0012, 2199: 0.0012},
        ),
        (
            {"lr": 0.4, "schedule": "steps", "milestones": (2,), "factors": (0.5,), "warmup": 4.0},
            {0: 0.2 / 400, 399: 0.2, 400: 0.2},
        ),
        ({"lr": 0.4, "schedule": "cosine"}, {0: 0.4, 1100: 0.2}),
        ({"lr": 0.4, "schedule": "cosine", "warmup": 2.0, "warmup_lr": 0.1}, {199: 0.4, 1200: 0.2}),
    ],
)
def test_rates(optim, rates):
    chosen = options(optim=optim).optim
    for step, rate in rates.items():
        assert rate_at(step, 2200, 100, chosen) == pytest.approx(rate), step
        assert rate_at(step, 2200, 100, chosen, 0.5) == pytest.approx(rate / 2), step


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"keep": "best", "validate_every": 0}, "keep best: without validation"),
        ({"optim": {"milestones": (3,), "factors": (0.1,)}}, "add --optim.schedule steps"),
        ({"optim": {"schedule": "steps"}}, "one factor for each milestone"),
        ({"optim": {"schedule": "steps", "milestones": (3, 2), "factors": (1, 1)}}, "increasing epochs"),
        ({"optim": {"schedule": "steps", "milestones": (3,), "factors": (-1,)}}, "shares of the peak"),
    ],
)
def test_contradictions(changed, said):
    with pytest.raises(ConfigError, match=said):
        refuse_contradictions(loop_contradictions(options(**changed)))


@pytest.mark.slow
def test_two_ranks_train_as_one(tmp_path):
    """Batch statistics and the gradient span both; the schedule ends after some steps."""
    store = dist.TCPStore(
        "127.0.0.1", 0, is_master=True, wait_for_workers=False, timeout=timedelta(minutes=9)
    )
    (tmp_path / "two" / "checkpoint").mkdir(parents=True)
    common = os.environ | {
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(store.port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(Path(toy_task.__file__).parents[1]), *sys.path]),
    }
    program = [sys.executable, toy_task.__file__, str(tmp_path / "two"), "{optim: {clip_norm: 1.0}}"]
    running = [
        subprocess.Popen(program, env=common | {"RANK": str(rank), "LOCAL_RANK": str(rank)})
        for rank in range(2)
    ]
    assert [process.wait(timeout=540) for process in running] == [0, 0]
    train(ToyTask(), options(optim={"clip_norm": 1.0}), tmp_path / "one")
    for got, want in zip(lines(tmp_path / "two"), lines(tmp_path / "one"), strict=True):
        assert got.keys() == want.keys()
        for name in {"loss", "grad_norm", "val_score"} & want.keys():
            assert got[name] == pytest.approx(want[name], rel=1e-4), (got["step"], name)
    one, two = state(tmp_path / "one")["learner"], state(tmp_path / "two")["learner"]
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-4, atol=1e-6)
