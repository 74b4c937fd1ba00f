"""Pre-training end to end, on rendered video files read through the decode path."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys

import pytest
import torch
import yaml
from patience import PATIENCE, wait_until
from same_training import assert_same_movement

from bodvcl.bilevel.solvers import make_solver
from bodvcl.cli.train import main
from bodvcl.config.parse import load_yaml
from bodvcl.config.schema import ModelConfig, TrainConfig
from bodvcl.engine.assemble import build_learner, loss_options
from bodvcl.engine.checkpoint import LAST, load_encoder
from bodvcl.engine.learner import untrained_encoder
from bodvcl.engine.metrics import METRICS
from bodvcl.engine.problem import BatchProblem
from bodvcl.errors import DataError
from bodvcl.ops.koopman import vacuous

TIMING = {"clips_per_second", "data_wait", "memory_gb"}


def metrics(run):
    lines = [json.loads(line) for line in (run / METRICS).read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in TIMING} for line in lines]


def weights(run):
    state = torch.load(run / LAST, weights_only=True)["learner"]
    return {name.removeprefix("encoder."): t for name, t in state.items()}


def assert_same_weights(run_a, run_b):
    a, b = weights(run_a), weights(run_b)
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name]), name


def test_a_run_leaves_all_that_was_promised(finished_run, capsys):
    for name in ("config.yaml", "metrics.jsonl", "checkpoint/last.pt", "checkpoint/encoder.pt", "report.html",
                 "probe.json", "analysis.npz", "summary.json"):  # fmt: skip
        assert (finished_run / name).stat().st_size > 0, name
    assert list((finished_run / "tensorboard").glob("events*"))
    lines = metrics(finished_run)
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6]
    for line in lines:
        assert {
            "loss_static",
            "loss_dynamic",
            "loss_pred",
            "static_modes",
            "empty_static",
            "lr",
        } <= line.keys()
        assert all(math.isfinite(v) for v in line.values())
    config = yaml.safe_load((finished_run / "config.yaml").read_text())
    assert config["decouple"] == "bod"
    rows = json.loads((finished_run / "probe.json").read_text())["rows"]
    assert {row["semantic"] for row in rows} == {"background", "shape", "brightness", "trajectory"}
    assert all(0 <= row["pretrained"] <= 1 and 0 <= row["untrained"] <= 1 for row in rows)


def test_the_exported_encoder_gives_one_feature_per_frame(finished_run):
    encoder = load_encoder(finished_run)
    clips = torch.randn(2, 3, 8, 16, 16)
    assert encoder.frames(clips).shape == (2, 8, 16)
    assert encoder(clips).shape == (2, 8, 12)
    assert not encoder.training


@pytest.mark.parametrize("decouple", ["pred", "bod"])
@pytest.mark.parametrize(
    "bilevel",
    [
        "",
        "--bilevel.scope all",
        "--bilevel.solver first_order",
        "--bilevel.solver first_order --bilevel.scope all",
        "--bilevel.solver single",
    ],
)
def test_every_bilevel_variant_trains(tiny, tmp_path, decouple, bilevel):
    check_variant(tiny, tmp_path / "r", decouple, bilevel)


def test_the_plain_method_trains(tiny, tmp_path):
    check_variant(tiny, tmp_path / "r", "none")


def check_variant(tiny, run, decouple, more=""):
    options = f"--run-dir {run} --decouple {decouple} {more} --max-steps 2 --log.no-probe --log.no-report"
    assert main([*tiny, *options.split()]) == 0
    last = metrics(run)[-1]
    assert ("loss_video" in last) == (decouple != "bod")
    assert ("loss_pred" in last) == (decouple != "none")


def test_hard_mask_and_the_paper_s_own_loss_train_and_say_that_the_loss_is_vacuous(tiny, tmp_path, capsys):
    vacuous._warned.clear()  # said once in a process
    paper = "--koopman.mask hard --koopman.ridge 0 --prediction.mode train --koopman.no-normalize".split()
    assert main([*tiny, *paper, "--run-dir", str(tmp_path / "r"), "--max-steps", "2", "--log.no-probe"]) == 0
    assert "bodvcl train: warning: mode='train' is vacuous here" in capsys.readouterr().err
    assert math.isfinite(metrics(tmp_path / "r")[-1]["loss"])


@pytest.mark.parametrize(
    ("decouple", "solver"), [("none", "single"), ("pred", "first_order"), ("bod", "first_order")]
)
def test_fast_and_reference_routes_agree_in_float32(tiny, tmp_path, decouple, solver):
    """Two steps through the command line. The finite difference, whose step of 2e-4 magnifies rounding
    5000-fold, is compared in float64 below."""
    runs = {}
    for flag in ("--fast", "--no-fast"):
        runs[flag] = tmp_path / flag
        options = f"{flag} --decouple {decouple} --bilevel.solver {solver} --precision fp32 --max-steps 2 "
        options += "--optim.name sgd --optim.lr 0.002 --koopman.max-gain None --bilevel.gamma 0.001 "
        options += "--bilevel.scope all --log.no-probe --log.no-report"
        assert main([*tiny, *options.split(), "--run-dir", str(runs[flag])]) == 0
    for a, b in zip(metrics(runs["--fast"]), metrics(runs["--no-fast"])):
        for name in ("loss", "loss_pred", "loss_static", "loss_dynamic", "loss_video"):
            if name in a:
                assert a[name] == pytest.approx(b[name], rel=1e-2, abs=1e-5), (a["step"], name)
    fast, reference = weights(runs["--fast"]), weights(runs["--no-fast"])
    config = load_yaml(runs["--fast"] / "config.yaml")
    start = untrained_encoder(config.model, config.seed).state_dict()
    assert_same_movement(fast, reference, start)


@pytest.mark.parametrize("decouple", ["pred", "bod"])
@pytest.mark.parametrize("solver", ["single", "first_order", "fd"])
@pytest.mark.parametrize("scope", ["all", "head"])
def test_fast_and_reference_gradients_agree_in_float64(decouple, solver, scope):
    gradients = []
    for fast in (True, False):
        config = TrainConfig(
            decouple=decouple, fast=fast, model=ModelConfig(width=4, embed_dim=12, hidden_dim=16)
        )
        config.bilevel.solver, config.bilevel.scope = solver, scope
        config.koopman.max_gain = None
        learner = build_learner(config).double().train()
        generator = torch.Generator().manual_seed(2)
        clips = torch.randn(8, 3, 8, 16, 16, generator=generator, dtype=torch.float64)
        videos = torch.arange(4).repeat_interleave(2)
        problem = BatchProblem(learner, clips, videos, loss_options(config), autocast=None)
        step = make_solver(config.bilevel)(learner.trainable(), problem)
        gradients.append(torch.cat([g.flatten() for g in step.gradient.values()]))
    torch.testing.assert_close(
        gradients[0], gradients[1], rtol=0, atol=1e-6 * gradients[1].abs().max().item()
    )


def test_resume_continues_bit_for_bit(tiny, tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    quiet = ["--log.no-probe", "--log.no-report"]
    assert main([*tiny, *quiet, "--run-dir", str(whole)]) == 0
    assert main([*tiny, *quiet, "--run-dir", str(parts), "--max-steps", "4"]) == 0
    state = torch.load(parts / LAST, weights_only=True)
    assert 0 < state["seconds"] <= json.loads((parts / "summary.json").read_text())["seconds"] + 0.1
    torch.save(state | {"seconds": 1000.0}, parts / LAST)  # as if the four steps had taken long
    assert main(["--resume", "--run-dir", str(parts), "--max-steps", "None"]) == 0
    assert_same_weights(whole, parts)
    assert metrics(whole) == metrics(parts)
    assert 1000 < json.loads((parts / "summary.json").read_text())["seconds"] < 3000


def test_a_killed_run_resumes_from_its_last_checkpoint_bit_for_bit(tiny, tmp_path, monkeypatch):
    from bodvcl.engine.loop import Trainer

    whole, killed = tmp_path / "whole", tmp_path / "killed"
    quiet = ["--log.no-probe", "--log.no-report"]
    assert main([*tiny, *quiet, "--run-dir", str(whole)]) == 0
    step = Trainer._train_step

    def dies_at_step_4(self, *arguments):
        if self.step == 3:
            raise RuntimeError("dies here")
        return step(self, *arguments)

    monkeypatch.setattr(Trainer, "_train_step", dies_at_step_4)
    with pytest.raises(RuntimeError, match="dies here"):
        main([*tiny, *quiet, "--run-dir", str(killed)])
    monkeypatch.undo()
    assert [m["step"] for m in metrics(killed)] == [1, 2, 3]
    assert main(["--resume", "--run-dir", str(killed)]) == 0
    assert_same_weights(whole, killed)
    assert metrics(whole) == metrics(killed)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_and_exits_cleanly(tiny, tmp_path, number, code):
    run = tmp_path / "r"
    command = [
        sys.executable,
        "-m",
        "bodvcl.train",
        *tiny,
        "--epochs",
        "2000",
        "--run-dir",
        str(run),
        "--workers",
        "1",
    ]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        wait_until(
            lambda: (run / METRICS).exists() and (run / METRICS).stat().st_size > 0,
            lambda: process.poll() is not None,
        )
        os.kill(process.pid, number)
        out, err = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    assert process.returncode == code, err
    assert "Traceback" not in err
    assert "bodvcl train --resume --run-dir" in out
    saved = torch.load(run / LAST, weights_only=True)["step"]
    assert saved == metrics(run)[-1]["step"]


def test_a_full_disk_keeps_the_previous_checkpoint(tiny, tmp_path, monkeypatch, capsys):
    run = tmp_path / "r"
    quiet = ["--log.no-probe", "--log.no-report", "--run-dir", str(run)]
    assert main([*tiny, *quiet, "--max-steps", "2"]) == 0
    before = (run / LAST).read_bytes()
    fsync = os.fsync

    def full(descriptor):
        if "last.pt" in os.readlink(f"/proc/self/fd/{descriptor}"):
            raise OSError(28, "No space left on device")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    assert main(["--resume", "--run-dir", str(run), "--max-steps", "4"]) == 2
    error = capsys.readouterr().err
    assert "the disk is full; the previous checkpoint is intact" in error
    assert (run / LAST).read_bytes() == before
    assert not list((run / "checkpoint").glob(".*"))
    monkeypatch.undo()
    assert main(["--resume", "--run-dir", str(run), "--max-steps", "4"]) == 0


def test_nan_stops_saves_and_names_step_and_cause(tiny, tmp_path, capsys):
    run = tmp_path / "r"
    options = f"--optim.lr 1e12 --optim.clip-norm None --optim.name sgd --run-dir {run}".split()
    assert main([*tiny, *options]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("bodvcl train: error: step ")
    assert "not finite" in error
    assert "--optim.lr" in error
    state = torch.load(run / LAST, weights_only=True)
    assert all(torch.isfinite(t).all() for t in state["learner"].values() if t.is_floating_point())


def test_a_checkpoint_of_another_configuration_is_refused(finished_run, tiny, capsys):
    before = (finished_run / LAST).read_bytes()
    assert main([*tiny, "--resume", "--run-dir", str(finished_run), "--model.embed-dim", "16"]) == 2
    assert "another configuration (model.embed_dim was 12, now 16)" in capsys.readouterr().err
    assert (finished_run / LAST).read_bytes() == before


def test_a_damaged_checkpoint_is_refused(tiny, tmp_path, capsys):
    run = tmp_path / "r"
    assert main([*tiny, "--run-dir", str(run), "--max-steps", "2", "--log.no-probe", "--log.no-report"]) == 0
    (run / LAST).write_bytes((run / LAST).read_bytes()[:1000])
    assert main(["--resume", "--run-dir", str(run)]) == 2
    assert "last.pt is not a readable checkpoint" in capsys.readouterr().err


def test_resume_without_a_checkpoint_starts(tiny, tmp_path, capsys):
    run = tmp_path / "r"
    assert main([*tiny, "--resume", "--run-dir", str(run), "--max-steps", "1", "--log.no-probe"]) == 0
    assert "no checkpoint yet" in capsys.readouterr().out


@pytest.mark.parametrize("error", [DataError("no file"), RuntimeError("no\nmemory"), MemoryError()])
def test_a_failing_probe_does_not_spoil_a_finished_training(tiny, tmp_path, monkeypatch, capsys, error):
    def fails(*_, **__):
        raise error

    monkeypatch.setattr("bodvcl.cli.end_of_run.evaluate_run", fails)
    run = tmp_path / "my run"
    assert main([*tiny, "--epochs", "1", "--run-dir", str(run)]) == 0
    captured = capsys.readouterr()
    (line,) = [line for line in captured.err.splitlines() if "its probe failed" in line]
    assert f"finished and saved, but its probe failed: {type(error).__name__}" in line
    assert f"bodvcl probe --checkpoint '{run}'" in line
    assert "encoder, checkpoint, metrics and report.html are in" in captured.out
    load_encoder(run)
    assert (run / "report.html").stat().st_size > 0


def test_dry_run_prints_the_recipe_and_trains_nothing(tiny, tmp_path, capsys):
    run = tmp_path / "r"
    assert main([*tiny, "--dry-run", "--run-dir", str(run)]) == 0
    out = capsys.readouterr().out
    assert "1 forward and 1 backward pass a step" in out
    assert "embed_dim: 12" in out
    assert not run.exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--data", "/nowhere"], "/nowhere"),
        (["--batch-size", "13"], "13"),
        (["--clip.frames", "16"], "clip"),
        (["--device", "cuda:99"], "--device cuda:99"),
        (["--koopman.xi", "2"], "koopman.xi"),
        (["--nonsense", "1"], "unknown option --nonsense"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(tiny, tmp_path, options, message, capsys):
    assert main([*tiny, "--run-dir", str(tmp_path / "r"), *options]) == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert error[-1].startswith("bodvcl train: error: ")
    assert message in error[-1]
    assert not any("Traceback" in line for line in error)


def test_a_folder_of_videos_trains(tiny, shapes_cache, finished_run, tmp_path, capsys):
    videos = tmp_path / "videos"
    videos.mkdir()
    source = sorted(shapes_cache.rglob("*.mp4"))[:6]
    for path in source:
        (videos / path.name).write_bytes(path.read_bytes())
    (videos / "broken.mp4").write_bytes(b"not a video")
    (videos / "empty.mp4").write_bytes(b"")
    run = tmp_path / "r"
    assert (
        main([*tiny, "--data", str(videos), "--run-dir", str(run), "--max-steps", "1", "--batch-size", "4"])
        == 0
    )
    out = capsys.readouterr().out
    assert "broken.mp4" in out
    assert "empty.mp4" in out
    assert "6" in out
    assert not (run / "probe.json").exists()
    assert (run / "report.html").exists()
