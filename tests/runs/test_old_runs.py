"""Run folders of earlier versions: read, probed, shown and continued by this one."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

import bodvcl
from bodvcl.cli.main import main
from bodvcl.config.parse import load_yaml
from bodvcl.engine.checkpoint import LAST, load_run
from bodvcl.runs.contents import read_run

WRITTEN = sorted(Path(__file__).parent.glob("written_by_*"))


@pytest.fixture(params=WRITTEN, ids=lambda folder: folder.name)
def old_run(request, tmp_path, shapes_cache, monkeypatch) -> Path:
    """A copy of a run folder of an earlier version. Its data set is rendered into the cache of the tests."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(shapes_cache))
    return shutil.copytree(request.param, tmp_path / "run")


def state(run: Path) -> dict[str, Any]:
    return torch.load(run / LAST, weights_only=True)


def test_there_are_old_runs():
    assert [folder.name for folder in WRITTEN] == ["written_by_0_1_0"]


def test_everything_in_the_folder_is_read(old_run):
    config = load_yaml(old_run / "config.yaml")
    assert (config.batch_size, config.max_steps, config.clip.size, config.model.width) == (4, 4, 16, 4)
    found = read_run(old_run)
    assert found.unreadable == []
    assert found.metrics["step"].tolist() == [1, 2, 3, 4]
    assert {row["semantic"] for row in found.probe} == {"background", "shape", "brightness", "trajectory"}
    assert found.analysis is not None
    assert found.analysis.before is not None
    assert found.summary["steps"] == 4


def test_the_encoder_loads_and_gives_features(old_run):
    encoder, config = load_run(old_run)
    clips = torch.randn(2, 3, config.clip.frames, config.clip.size, config.clip.size)
    assert encoder(clips).shape == (2, 8, 12)
    trained = state(old_run)["learner"]
    for name, value in encoder.state_dict().items():
        assert torch.equal(value, trained[f"encoder.{name}"]), name
    assert bodvcl.load_encoder(old_run)(clips).isfinite().all()


def test_training_goes_on_where_it_stopped(old_run, capsys):
    """Not compared with six steps of this version: it renders other bytes than 0.1.0 did."""
    before, first = state(old_run), (old_run / "metrics.jsonl").read_text()
    quiet = ["--max-steps", "6", "--log.no-probe", "--log.no-report"]
    assert main(["train", "--resume", "--run-dir", str(old_run), *quiet]) == 0
    out = capsys.readouterr().out
    assert f"resuming {old_run} at step 4" in out
    assert "changed since the checkpoint" not in out

    written = (old_run / "metrics.jsonl").read_text()
    assert written.startswith(first)
    lines = [json.loads(line) for line in written.splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6]
    rates = [1e-3 * (1 + math.cos(math.pi * done / 5)) for done in (3, 4)]  # a cosine, after one step of rise
    assert [line["lr"] for line in lines[4:]] == pytest.approx(rates)

    after = state(old_run)
    assert {int(moments["step"]) for moments in after["optimizer"]["state"].values()} == {6}
    bound = 2 * sum(rates)  # two steps of Adam move a weight by little more than their rates
    moved = [
        (after["learner"][name] - value).abs().max().item()
        for name, value in before["learner"].items()
        if value.is_floating_point() and ".running_" not in name
    ]
    assert 0 < max(moved) < bound


def test_probe_and_report_work(old_run, tmp_path):
    out = tmp_path / "scores.json"
    assert (
        main(["probe", "--checkpoint", str(old_run), "--out", str(out), "--workers", "0", "--no-cache"]) == 0
    )
    assert json.loads(out.read_text())
    assert main(["report", str(old_run)]) == 0
    assert "<html" in (old_run / "report.html").read_text(encoding="utf-8")
