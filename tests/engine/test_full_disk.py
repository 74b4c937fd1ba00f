"""A disk that is full, whatever is being written: one line, exit code 2, and nothing is lost."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import resource
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from bodvcl.cli.report import main as report_main
from bodvcl.cli.train import main
from bodvcl.engine.checkpoint import LAST
from bodvcl.engine.memory import MemoryEstimate, refuse_absurd
from bodvcl.engine.metrics import METRICS, LogError, MetricsLog
from bodvcl.errors import ConfigError

# TensorBoard's thread fails, too; what it met is raised again where the next line is written.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")


@contextlib.contextmanager
def no_file_above(size: int) -> Iterator[None]:
    """Any file of more bytes fails as on a full disk, some bytes after its last whole write."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def whole_lines(run: Path) -> list[dict]:
    text = (run / METRICS).read_text(encoding="utf-8")
    assert text == "" or text.endswith("\n")
    return [json.loads(line) for line in text.splitlines()]


def log_until_it_fails(run: Path, steps: int) -> Iterator[int]:
    log = MetricsLog(run, 0)
    try:
        for step in range(1, steps + 1):
            log.write(step, {"loss": 1.0, "grad_norm": float("nan")})
            yield step
    finally:
        log.close()


@pytest.mark.parametrize("size", [0, 10, 200, 1000, 5000])
def test_the_log_ends_with_a_whole_line(size, tmp_path):
    message = r"cannot write the log in .*continue with --resume"
    with no_file_above(size), pytest.raises(LogError, match=message):
        deque(log_until_it_fails(tmp_path, 10_000), maxlen=0)
    steps = [line["step"] for line in whole_lines(tmp_path)]
    assert steps == list(range(1, len(steps) + 1))


def test_a_training_whose_log_is_full_saves_what_it_has(tiny, tmp_path, monkeypatch, capsys):
    def full(self, step, values):
        if step == 3:
            raise LogError("cannot write the log: disk full")

    monkeypatch.setattr(MetricsLog, "write", full)
    run = tmp_path / "run"
    assert main([*tiny, "--log.save-every", "100", "--run-dir", str(run)]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == "bodvcl train: error: cannot write the log: disk full"
    assert torch.load(run / LAST, weights_only=True)["step"] == 3
    monkeypatch.undo()
    assert main(["--resume", "--run-dir", str(run)]) == 0
    assert torch.load(run / LAST, weights_only=True)["step"] == 6


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("config.yaml", errno.ENOSPC),
        ("summary.json", errno.EDQUOT),
        ("probe.json", errno.EROFS),
        ("analysis.npz", errno.ENOSPC),
        ("report.html", errno.ENOSPC),
    ],
)
def test_every_file_of_a_run_may_meet_a_full_disk(name, code, tiny, tmp_path, monkeypatch, capsys):
    keep = os.replace

    def full(source, target):
        if Path(target).name == name:
            raise OSError(code, os.strerror(code), str(source), None, str(target))
        keep(source, target)

    monkeypatch.setattr(os, "replace", full)
    run = tmp_path / "run"
    assert main([*tiny, "--max-steps", "1", "--run-dir", str(run)]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("bodvcl train: error: ")
    assert os.strerror(code) in error
    assert name in error
    assert not list(run.rglob("*.part"))
    assert (run / LAST).exists() == (name != "config.yaml")


def test_a_report_on_a_full_disk_keeps_the_old_one(finished_run, capsys):
    before = (finished_run / "report.html").read_bytes()
    with no_file_above(100):
        assert report_main([str(finished_run)]) == 2
    assert "report.html: File too large" in capsys.readouterr().err
    assert (finished_run / "report.html").read_bytes() == before


def test_a_run_that_cannot_fit_is_refused_before_it_starts(tiny, tmp_path, capsys):
    run = tmp_path / "run"
    assert main([*tiny, "--clip.size", "100000", "--run-dir", str(run)]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "a step would take " in error
    assert "lower --batch-size" in error
    assert not run.exists()
    assert main([*tiny, "--clip.size", "100000", "--dry-run"]) == 0
    assert "estimated memory" in capsys.readouterr().out


def test_swap_and_an_inexact_estimate_are_allowed_for(monkeypatch):
    monkeypatch.setattr("bodvcl.engine.memory.device_memory", lambda device: 10)
    refuse_absurd(MemoryEstimate(20, 0, 0, 20, 0), torch.device("cpu"))
    with pytest.raises(ConfigError, match="cpu has"):
        refuse_absurd(MemoryEstimate(20, 0, 0, 21, 0), torch.device("cpu"))
