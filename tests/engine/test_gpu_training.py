"""Tiny trainings on a CUDA device: every method and precision, next to the CPU's."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from bodvcl.cli.train import main
from bodvcl.engine import loop
from bodvcl.engine.loop import Trainer

DEVICE = "cuda"
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
QUIET = ["--log.no-probe", "--log.no-report"]
METHODS = {
    **{method: [] for method in ("simclr", "moco", "byol", "swav")},
    **{method: ["--decouple", "none", "--clip.views", "3", "--clip.twin"] for method in ("dualvar", "hdc")},
}
LOSSES = ("loss", "loss_pred", "loss_static", "loss_dynamic", "loss_video")


def on(device: str, tiny: list[str]) -> list[str]:
    """The options of a tiny run, on another device."""
    options = list(tiny)
    options[options.index("--device") + 1] = device
    return options


def metrics(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def train(tiny: list[str], run: Path, *options: str, device: str = DEVICE) -> list[dict[str, float]]:
    options = (*on(device, tiny), *QUIET, *options, "--max-steps", "3", "--run-dir", str(run))
    assert main(options) == 0
    found = metrics(run)
    assert [m["step"] for m in found] == [1, 2, 3]
    assert all(math.isfinite(m["loss"]) for m in found)
    return found


def assert_first_losses_agree(got: list[dict[str, float]], want: list[dict[str, float]], rel: float) -> None:
    shared = [name for name in LOSSES if name in want[0]]
    assert shared
    for name in shared:
        assert got[0][name] == pytest.approx(want[0][name], rel=rel, abs=1e-4), name
    # The second shows that the same gradient moved the weights; rounding has grown by then.
    assert got[1]["loss"] == pytest.approx(want[1]["loss"], rel=5 * rel)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_begins_with_the_loss_of_the_cpu(tiny, tmp_path, method):
    options = ("--method", method, *METHODS[method], "--precision", "fp32")
    got = train(tiny, tmp_path / "gpu", *options)
    assert_first_losses_agree(got, train(tiny, tmp_path / "cpu", *options, device="cpu"), rel=1e-2)


@pytest.mark.parametrize("precision", ["tf32", "bf16", "fp16"])
def test_every_precision(tiny, tmp_path, precision):
    want = train(tiny, tmp_path / "fp32", "--precision", "fp32")
    assert_first_losses_agree(train(tiny, tmp_path / "run", "--precision", precision), want, rel=0.3)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("method", METHODS)
def test_clips_in_half_precision_begin_with_the_loss_of_float32_clips(
    tiny, tmp_path, monkeypatch, method, precision
):
    options = ("--method", method, *METHODS[method], "--precision", precision)
    got = train(tiny, tmp_path / "narrow", *options)
    monkeypatch.setattr(loop, "clip_dtype", lambda *arguments: torch.float32)
    assert_first_losses_agree(got, train(tiny, tmp_path / "wide", *options), rel=1e-2)


@pytest.mark.parametrize("flag", ["--no-fast", "--compile"])
def test_every_route(tiny, tmp_path, flag):
    want = train(tiny, tmp_path / "fast", "--precision", "fp32")
    got = train(tiny, tmp_path / "run", "--precision", "fp32", flag)
    assert_first_losses_agree(got, want, rel=1e-2)


@pytest.mark.parametrize("solver", ["first_order", "fd", "itd", "hvp", "cg", "neumann"])
def test_every_solver(tiny, tmp_path, solver):
    options = ("--bilevel.solver", solver, "--bilevel.scope", "all", "--precision", "fp32")
    got = train(tiny, tmp_path / "gpu", *options)
    assert_first_losses_agree(got, train(tiny, tmp_path / "cpu", *options, device="cpu"), rel=1e-2)


def test_a_run_is_continued_on_the_gpu_and_on_the_cpu(tiny, tmp_path):
    """The checkpoint of a GPU run goes on where it stopped, on either device."""
    whole = train(tiny, tmp_path / "whole", "--precision", "fp32")
    for device in (DEVICE, "cpu"):
        run = tmp_path / f"to-{device}"
        begin = [*on(DEVICE, tiny), *QUIET, "--precision", "fp32", "--max-steps", "2", "--run-dir", str(run)]
        assert main(begin) == 0
        again = ["--resume", "--run-dir", str(run), "--max-steps", "3", "--device", device]
        assert main(again) == 0
        found = metrics(run)
        assert [m["step"] for m in found] == [1, 2, 3]
        assert found[-1]["loss"] == pytest.approx(whole[-1]["loss"], rel=0.05)


def test_a_whole_run_leaves_probe_and_report(tiny, tmp_path):
    run = tmp_path / "run"
    assert main([*on(DEVICE, tiny), "--run-dir", str(run)]) == 0
    assert (run / "report.html").exists()
    probe = json.loads((run / "probe.json").read_text())
    assert probe
    summary = json.loads((run / "summary.json").read_text())
    assert summary["device"] != "cpu"


@pytest.mark.parametrize("method", ["moco", "byol", "swav"])
def test_other_methods_compiled_begin_with_the_loss_of_the_plain_one(tiny, tmp_path, method):
    options = ("--method", method, *METHODS[method], "--precision", "fp32")
    want = train(tiny, tmp_path / "plain", *options)
    assert_first_losses_agree(train(tiny, tmp_path / "run", *options, "--compile"), want, rel=1e-2)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("how", ["fp32", "bf16", "fp16", "bf16 --compile"])
def test_a_step_never_waits_for_the_host(tiny, tmp_path, monkeypatch, method, how):
    """From the third step on: the first ones allocate memory, choose kernels and compile."""
    step, settle = Trainer._train_step, Trainer._settle

    def strict(self, *arguments):
        torch.cuda.set_sync_debug_mode("error" if self.step > 1 else "default")
        try:
            step(self, *arguments)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    def late(self, *arguments):
        before = torch.cuda.get_sync_debug_mode()
        torch.cuda.set_sync_debug_mode("default")
        settle(self, *arguments)
        torch.cuda.set_sync_debug_mode(before)

    monkeypatch.setattr(Trainer, "_train_step", strict)
    monkeypatch.setattr(Trainer, "_settle", late)
    train(tiny, tmp_path / "run", "--method", method, *METHODS[method], "--precision", *how.split())
