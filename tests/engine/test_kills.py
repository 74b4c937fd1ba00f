"""Processes that are killed at random, and a launcher that starts them again: the weights are the same."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from growth import needs_proc
from patience import PATIENCE, wait_until

from bodvcl.engine.checkpoint import LAST
from bodvcl.engine.metrics import METRICS

KILLS = int(os.environ.get("BODVCL_KILLS", "1"))
"""Some ten seconds each; BODVCL_KILLS=20 for a long try."""
PROCESSES = 4
QUIET = ["--log.no-probe", "--log.no-report"]


def start(options: list[str], said: Path) -> subprocess.Popen[bytes]:
    """``torchrun``, which starts all again when one has ended badly; what they say goes to a file."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--max-restarts", str(KILLS + 1)]
    program = ["--nproc-per-node", str(PROCESSES), "-m", "bodvcl.train", *options]
    with open(said, "wb") as file:
        return subprocess.Popen(
            [sys.executable, *launcher, *program],
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stdout=subprocess.DEVNULL,
            stderr=file,
        )


def finished(running: subprocess.Popen[bytes], said: Path) -> str:
    """What was said until the end, which must be good."""
    running.wait(PATIENCE)
    text = said.read_text(errors="replace")
    assert running.returncode == 0, text
    return text


def workers(launcher: int) -> list[int]:
    """The processes of the training that live now."""
    found = []
    for task in Path(f"/proc/{launcher}/task").glob("*/children"):
        for child in task.read_text().split():
            with contextlib.suppress(OSError):  # it has ended since
                if b"bodvcl" in Path(f"/proc/{child}/cmdline").read_bytes():
                    found.append(int(child))
    return found


def kill_one(running: subprocess.Popen[bytes], draws: random.Random) -> None:
    """One process of the training at once, without a chance to tidy up."""
    wait_until(lambda: len(workers(running.pid)) == PROCESSES, lambda: running.poll() is not None)
    os.kill(draws.choice(workers(running.pid)), signal.SIGKILL)


def saved_step(run: Path) -> int:
    return torch.load(run / LAST, weights_only=True)["step"] if (run / LAST).exists() else 0


@needs_proc
@pytest.mark.slow
def test_a_run_that_is_killed_again_and_again_ends_with_the_same_weights(tiny, tmp_path):
    steps = 24 * (KILLS + 1)
    options = [*tiny, *QUIET, "--method", "moco", "--moco.queue", "48", "--batch-size", "12"]
    options += ["--epochs", str(steps), "--log.save-every", "4", "--resume"]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    finished(start([*options, "--run-dir", str(whole)], tmp_path / "said"), tmp_path / "said")

    draws, running = random.Random(0), start([*options, "--run-dir", str(killed)], tmp_path / "said again")
    try:
        for _ in range(KILLS):
            before = saved_step(killed)
            wait_until(lambda b=before: saved_step(killed) > b, lambda: running.poll() is not None)
            time.sleep(draws.random())
            kill_one(running, draws)
        said = finished(running, tmp_path / "said again")
    finally:
        running.kill()
    assert saved_step(killed) == saved_step(whole) == steps
    got, want = (torch.load(run / LAST, weights_only=True)["learner"] for run in (killed, whole))
    for name, value in want.items():
        assert torch.equal(got[name], value), name
    assert said.count("another process has ended without a message") == KILLS
    assert "Traceback" not in said
    logged = [(run / METRICS).read_text().count("\n") for run in (killed, whole)]
    assert logged == [steps, steps]
