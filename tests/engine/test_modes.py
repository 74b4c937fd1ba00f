"""Ways to run the same training: compiled, in parts, with too little memory."""

from __future__ import annotations

import json
import math
import shutil

import pytest
import torch

from bodvcl.cli.train import main
from bodvcl.engine.loop import Trainer
from bodvcl.engine.metrics import METRICS

QUIET = ["--log.no-probe", "--log.no-report", "--precision", "fp32"]


def metrics(run):
    return [json.loads(line) for line in (run / METRICS).read_text().splitlines()]


def test_compile_without_a_compiler_is_refused(tiny, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert main([*tiny, *QUIET, "--compile", "--run-dir", str(tmp_path / "r")]) == 2
    assert "--compile: torch.compile needs a C++ compiler" in capsys.readouterr().err


def test_compile_of_what_is_differentiated_twice_is_refused(tiny, tmp_path, capsys):
    options = ["--compile", "--bilevel.solver", "itd", "--bilevel.scope", "all"]
    assert main([*tiny, *options, "--run-dir", str(tmp_path / "r")]) == 2
    assert "torch.compile cannot differentiate the backbone twice" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_a_compiled_step_trains_as_the_plain_one(tiny, tmp_path):
    options = ["--decouple", "none", "--max-steps", "2", "--optim.name", "sgd", "--optim.lr", "0.002"]
    for flag in ("--compile", "--no-compile"):
        assert main([*tiny, *QUIET, *options, flag, "--run-dir", str(tmp_path / flag)]) == 0
    for compiled, plain in zip(metrics(tmp_path / "--compile"), metrics(tmp_path / "--no-compile")):
        assert compiled["loss"] == pytest.approx(plain["loss"], rel=1e-4)
        assert compiled["grad_norm"] == pytest.approx(plain["grad_norm"], rel=1e-2)


def test_parts_see_only_their_own_negatives_and_make_one_step(tiny, tmp_path):
    """At a high temperature InfoNCE is near the log of the candidates: 3 in a part, 7 in a batch."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    options = ["--decouple", "none", "--objective.tau", "10", "--optim.lr", "1e-9"]
    assert main([*tiny, *QUIET, *options, "--run-dir", str(whole)]) == 0
    assert main([*tiny, *QUIET, *options, "--accumulate", "2", "--run-dir", str(parts)]) == 0
    assert [line["step"] for line in metrics(parts)] == [1, 2, 3, 4, 5, 6]
    for line in metrics(whole):
        assert line["loss"] == pytest.approx(math.log(7), abs=0.2)
    for line in metrics(parts):
        assert line["loss"] == pytest.approx(math.log(3), abs=0.2)


def test_a_full_gpu_is_one_line_with_the_remedy(tiny, tmp_path, monkeypatch, capsys):
    def full(self):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

    monkeypatch.setattr(Trainer, "run", full)
    assert main([*tiny, "--accumulate", "2", "--run-dir", str(tmp_path / "r")]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "the memory of the GPU is full (CUDA out of memory. Tried to allocate 20.00 GiB)" in error
    assert "lower --batch-size, or cut the batch with --accumulate 4" in error


def test_a_dry_run_estimates_the_memory_and_tells_the_rate(tiny, capsys):
    assert main([*tiny, "--dry-run", "--optim.lr-per", "8", "--optim.lr", "0.01"]) == 0
    out = capsys.readouterr().out
    assert "estimated memory, without the work space of convolutions: " in out
    assert "learning rate 0.01 per 8 videos: 0.005 for 4" in out
