"""Which checkpoints are kept, and what a cluster and other services are told."""

from __future__ import annotations

import json
import os
import signal
import stat
import sys
import types

import pytest
import torch

from bodvcl.cli.train import main
from bodvcl.engine.checkpoint import LAST
from bodvcl.engine.signals import StopRequest, requeue

QUIET = ["--log.no-probe", "--log.no-report"]


def test_checkpoints_are_kept_as_asked(tiny, tmp_path):
    run = tmp_path / "r"
    options = "--log.keep-last 2 --log.keep-every 1 --log.save-every 2 --epochs 3"
    assert main([*tiny, *QUIET, *options.split(), "--run-dir", str(run)]) == 0
    kept = {
        path.name: torch.load(path, weights_only=True)["step"] for path in (run / "checkpoint").glob("*-*")
    }
    assert kept == {
        "epoch-0001.pt": 3,
        "epoch-0002.pt": 6,
        "epoch-0003.pt": 9,
        "step-00000008.pt": 8,
        "step-00000009.pt": 9,
    }
    assert torch.load(run / LAST, weights_only=True)["step"] == 9


def test_a_kept_checkpoint_can_be_gone_back_to(tiny, tmp_path, capsys):
    run = tmp_path / "r"
    assert main([*tiny, *QUIET, "--log.keep-every", "1", "--run-dir", str(run)]) == 0
    (run / LAST).write_bytes((run / "checkpoint" / "epoch-0001.pt").read_bytes())
    assert main(["--resume", "--run-dir", str(run)]) == 0
    assert "at step 3" in capsys.readouterr().out


def test_a_checkpoint_of_another_method_is_refused(tiny, tmp_path, capsys):
    run = tmp_path / "r"
    assert main([*tiny, *QUIET, "--max-steps", "1", "--run-dir", str(run)]) == 0
    assert main([*tiny, *QUIET, "--resume", "--decouple", "none", "--run-dir", str(run)]) == 2
    assert "another configuration (decouple was bod, now none): drop these" in capsys.readouterr().err


def test_a_checkpoint_whose_weights_do_not_fit_is_refused(tiny, tmp_path, capsys):
    run = tmp_path / "r"
    assert main([*tiny, *QUIET, "--max-steps", "1", "--run-dir", str(run)]) == 0
    state = torch.load(run / LAST, weights_only=True)
    state["learner"]["encoder.nothing"] = torch.zeros(1)
    torch.save(state, run / LAST)
    assert main(["--resume", "--run-dir", str(run)]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "does not fit this configuration" in error
    assert "encoder.nothing" in error


def test_the_user_signal_is_a_request_to_stop():
    with StopRequest() as stop:
        os.kill(os.getpid(), signal.SIGUSR1)
        assert stop.signal == signal.SIGUSR1


@pytest.mark.parametrize(
    ("code", "said"), [(0, "job 17 is requeued"), (1, "job 17 is not requeued: no such job")]
)
def test_slurm_is_asked_to_run_the_job_again(tmp_path, monkeypatch, code, said):
    scontrol = tmp_path / "scontrol"
    scontrol.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/asked\necho "no such job" >&2\nexit {code}\n')
    scontrol.chmod(scontrol.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    assert said in requeue()
    assert (tmp_path / "asked").read_text().strip() == "requeue 17"
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "17")  # the other tasks of the array go on
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    requeue()
    assert (tmp_path / "asked").read_text().split()[-1] == "17_3"


def test_outside_of_slurm_nothing_is_requeued(monkeypatch):
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    assert "nothing is requeued" in requeue()
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    monkeypatch.setenv("PATH", "/nowhere")
    assert "there is no scontrol here" in requeue()


def test_wandb_that_is_not_installed_is_refused_before_anything_is_done(tiny, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("bodvcl.engine.wandb_log.find_spec", lambda name: None)
    run = tmp_path / "r"
    assert main([*tiny, "--log.wandb", "p", "--run-dir", str(run)]) == 2
    assert "--log.wandb: Weights & Biases is not installed; pip install wandb" in capsys.readouterr().err
    assert not run.exists()


def test_wandb_gets_what_the_metrics_file_gets(tiny, tmp_path, monkeypatch):
    class Run:
        logged, finished = [], False

        def log(self, values, step):
            self.logged.append({"step": step} | values)

        def finish(self):
            Run.finished = True

    began = {}
    fake = types.ModuleType("wandb")
    fake.init = lambda **options: began.update(options) or Run()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    monkeypatch.setattr("bodvcl.engine.wandb_log.find_spec", lambda name: True)
    run = tmp_path / "my-run"
    options = ["--log.wandb", "project", "--max-steps", "2", "--run-dir", str(run)]
    assert main([*tiny, *QUIET, *options]) == 0
    assert began["project"] == "project"
    assert began["id"] == began["name"] == "my-run"
    assert began["resume"] == "allow"
    assert began["config"]["batch_size"] == 4
    assert Run.logged == [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert Run.finished
