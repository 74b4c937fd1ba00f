"""``docs/slurm.sbatch`` on a real Slurm: stopped, requeued, preempted, on other tasks and on two nodes."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from patience import LONG, wait_until
from same_training import SMOOTH, assert_same_training, metrics
from small_slurm import LOOK, PROGRAMS, SmallSlurm, small_slurm
from torch import Tensor
from two_hosts import NODES, skip_without, two_hosts

import bodvcl
from bodvcl.cli.sweep import main as sweep_main
from bodvcl.engine.checkpoint import LAST
from bodvcl.engine.metrics import METRICS

SCRIPT = Path(__file__).parents[2] / "docs" / "slurm.sbatch"
HERE = {"clips_per_second", "data_wait", "memory_gb"}
"""What differs where a run is repeated."""
MORE = 3
"""Steps on another number of tasks: few, because what is summed in another order grows apart."""


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """Home folder of a user with the environment of the script. The doctor finds a node fit unless a file
    ``unfit-NODE`` is there, and writes down where it was called; with a file ``real`` it is the real one.
    With a file ``few-files-NODE`` it may open few files there."""
    folder = tmp_path_factory.mktemp("home")
    programs = folder / "bodvcl" / ".venv" / "bin"
    programs.mkdir(parents=True)
    (programs / "activate").write_text(f"export PATH={programs}:$PATH\n")
    doctor = f"""
        if [ -e "$HOME/few-files-$(hostname)" ]; then ulimit -n 64; fi
        if [ -e "$HOME/real" ]; then exec {sys.executable} -m bodvcl "$@"; fi
        echo "$(hostname) $*" | tee -a "$HOME/examined"
        test ! -e "$HOME/unfit-$(hostname)"
    """
    for name, does in {"python": f'exec {sys.executable} "$@"', "bodvcl": doctor}.items():
        (programs / name).write_text(f"#!/bin/sh\n{does}\n")
        (programs / name).chmod(0o755)
    return folder


@pytest.fixture(scope="module")
def slurm(home, tmp_path_factory) -> Iterator[SmallSlurm]:
    skip_without(*PROGRAMS)
    environment = {
        "HOME": str(home),
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(Path(bodvcl.__file__).parents[1]),
    }
    folders = tmp_path_factory.mktemp("hosts"), tmp_path_factory.mktemp("slurm")
    with two_hosts(folders[0]) as hosts, small_slurm(hosts, folders[1], environment) as running:
        yield running


class Training:
    """A job of the script with other options; more can be added before it starts again.

    Args:
        slurm: where it is submitted.
        name: its own.
        options: of the training.
        asked: options of ``sbatch``.
    """

    def __init__(self, slurm: SmallSlurm, name: str, options: list[str], *asked: str) -> None:
        self._slurm = slurm
        home = Path(slurm.environment["HOME"])
        self.run, self.log, self._more = (home / end for end in (name, f"{name}.txt", f"{name}.more"))
        self.go_on_with("")
        shown = SCRIPT.read_text().splitlines()
        changed = {
            "RUN": f"RUN={self.run}",
            "OPTIONS": f"OPTIONS=({shlex.join(options)} $(cat {self._more}))",
        }
        lines = [changed.get(line.partition("=")[0], line) for line in shown]
        assert sum(own != line for own, line in zip(lines, shown, strict=True)) == len(changed)
        script = home / f"{name}.sbatch"
        script.write_text("\n".join(lines) + "\n")
        self.job = slurm.submit("--gpus-per-node=0", f"--output={self.log}", *asked, str(script))

    def go_on_with(self, more: str) -> None:
        """Options that the next start has in addition."""
        self._more.write_text(more)

    @property
    def steps(self) -> int:
        """Steps that are logged."""
        return len(metrics(self.run)) if (self.run / METRICS).exists() else 0

    def wait_for_a_step(self) -> None:
        """Wait until the job has done one more."""
        before = self.steps
        wait_until(lambda: self.steps > before, lambda: not self._is_running(), LOOK)

    def _is_running(self) -> bool:
        return self._slurm.state(self.job) in ("PENDING", "RUNNING")


def state(checkpoint: Path) -> dict[str, Tensor]:
    return torch.load(checkpoint, weights_only=True)["learner"]


def assert_equal(got: dict[str, Tensor], want: dict[str, Tensor]) -> None:
    assert got.keys() == want.keys()
    assert [name for name in want if not torch.equal(got[name], want[name])] == []


def logged(run: Path) -> list[dict[str, Any]]:
    return [{name: value for name, value in line.items() if name not in HERE} for line in metrics(run)]


@pytest.mark.slow
def test_a_run_that_is_requeued_preempted_and_moved_ends_as_an_uninterrupted_one(slurm, home, tiny):
    options = [*tiny, *SMOOTH, "--epochs", "2000"]
    run = Training(slurm, "interrupted", options, "--nodes=1", "--ntasks-per-node=2")
    run.wait_for_a_step()
    assert "TRES=cpu=24," in slurm.call("scontrol", "show", "step", f"{run.job}.1")  # two tasks with 12 each
    slurm.call("scancel", "--signal=USR1", run.job)  # as --signal does before the time limit
    slurm.wait(run.job, "PENDING")
    assert f"Slurm job {run.job} is requeued" in run.log.read_text()

    slurm.start_now(run.job)
    run.wait_for_a_step()
    preempting = slurm.submit(
        "--partition=high", "--nodes=2", "--exclusive", "--output=/dev/null", "--wrap=true"
    )
    slurm.wait(run.job, "PENDING")
    assert f"preempted: job {run.job} is requeued" in run.log.read_text()
    slurm.wait(preempting, "COMPLETED")

    steps = run.steps
    whole = [
        *options,
        "--max-steps",
        str(steps + MORE),
        "--log.save-every",
        "1",
        "--log.keep-last",
        str(MORE + 1),
    ]
    on_two_nodes = Training(slurm, "nodes", whole, "--nodes=2", "--ntasks-per-node=1")
    slurm.wait(on_two_nodes.job, "COMPLETED")
    assert logged(run.run) == logged(on_two_nodes.run)[:steps]
    assert_equal(state(run.run / LAST), state((on_two_nodes.run / LAST).with_name(f"step-{steps:08d}.pt")))

    run.go_on_with(f"--max-steps {steps + MORE}")
    slurm.call("scontrol", "update", f"JobId={run.job}", "TasksPerNode=1", "NumTasks=1")
    slurm.start_now(run.job)
    assert slurm.wait(run.job, "COMPLETED")["Restarts"] == "2"
    assert "processes were 2, now 1" in run.log.read_text()
    assert_same_training(run.run, on_two_nodes.run, steps + MORE)

    examined = (home / "examined").read_text().splitlines()
    assert examined.count(f"node1 doctor --run-dir {run.run} --gpus 0") == 3
    assert {f"{node} doctor --run-dir {on_two_nodes.run} --gpus 0" for node in NODES} <= {*examined}


@pytest.mark.slow
def test_a_node_that_is_not_fit_ends_the_job_and_all_have_their_say(slurm, home):
    (home / "unfit-node2").touch()
    try:
        run = Training(slurm, "unfit", [], "--nodes=2", "--ntasks-per-node=1")
        slurm.wait(run.job, "FAILED")
    finally:
        (home / "unfit-node2").unlink()
    said = run.log.read_text()
    for number, node in enumerate(NODES):
        assert f"{number}: {node} doctor --run-dir {run.run}" in said
    assert not run.run.exists()


@LONG
@pytest.mark.slow
@pytest.mark.parametrize("unfit", [None, "node2"])
def test_the_doctor_compares_the_nodes_before_they_train(slurm, home, tiny, unfit):
    files = [home / "real", *([home / f"few-files-{unfit}"] if unfit else [])]
    for file in files:
        file.touch()
    try:
        options = [*tiny, "--max-steps", "1"]
        run = Training(slurm, f"without-{unfit}", options, "--nodes=2", "--ntasks-per-node=1")
        slurm.wait(run.job, "COMPLETED", "FAILED")
    finally:
        for file in files:
            file.unlink()
    said = run.log.read_text()
    assert slurm.state(run.job) == ("FAILED" if unfit else "COMPLETED"), said
    assert "2 ranks on 2 hosts: same software" in said
    assert run.steps == (0 if unfit else 1)
    if unfit:
        assert "0: not fit for training, 1 check failed: limits on node2\n" in said
        assert "0: mend it, or leave it out: sbatch --exclude=node2\n" in said
        assert "exclude=node1" not in said


@LONG
@pytest.mark.slow
def test_a_time_limit_stops_a_run_and_requeues_it(slurm, tiny):
    """Slurm looks at the time once in half a minute, and a run of a minute is within its last 300 seconds."""
    run = Training(slurm, "limit", [*tiny, *SMOOTH, "--epochs", "20000"], "--nodes=1", "--ntasks-per-node=1")
    run.wait_for_a_step()
    slurm.call("scontrol", "update", f"JobId={run.job}", "TimeLimit=3")
    assert slurm.wait(run.job, "PENDING")["Restarts"] == "1"
    slurm.call("scancel", run.job)
    assert "stopped at step" in run.log.read_text()


@LONG
@pytest.mark.slow
def test_the_array_of_a_sweep_trains_its_runs(slurm, home, tiny):
    file, out = home / "mine.yaml", home / "sweep"
    run = shlex.join(["train", *tiny, "--max-steps", "2"])
    file.write_text(yaml.safe_dump({"title": "A sweep", "run": run, "vary": {"koopman.xi": [0.1, 0.2]}}))
    sweep = [str(file), "--out", str(out)]
    asked = ["gpus-per-node=0", "ntasks-per-node=2", "nodes=2"]
    assert sweep_main([*sweep, "--slurm", "--sbatch", *asked]) == 0
    array = slurm.submit(str(out / "sweep.sbatch"))
    for task in ("0", "1"):
        slurm.wait(f"{array}_{task}", "COMPLETED")
    assert sweep_main([*sweep, "--report"]) == 0
    assert (out / "table.md").read_text().count("\n| 0.") == 2
    assert "4 processes" in next(out.glob("slurm-*.txt")).read_text()
