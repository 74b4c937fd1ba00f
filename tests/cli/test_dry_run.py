"""A dry run tells what would stop the run, as far as it costs little to see, and writes nothing."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torchvision.models import video

from bodvcl.cli.train import main
from bodvcl.config.parse import dump_yaml
from bodvcl.config.schema import ModelConfig, TrainConfig
from bodvcl.engine.checkpoint import ENCODER, LAST, load_run, read_checkpoint
from bodvcl.errors import CheckpointError
from bodvcl.models.backbones.weights import weights_report
from bodvcl.runs.lock import locked

QUIET = ["--log.no-probe", "--log.no-report"]


def said(capsys: pytest.CaptureFixture[str]) -> str:
    (line,) = capsys.readouterr().err.strip().splitlines()
    return line


def tree(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*")}


def other_network(path: Path) -> None:
    with torch.device("meta"):
        shapes = {name: value.shape for name, value in video.r3d_18().state_dict().items()}
    torch.save({name: torch.zeros(shape) for name, shape in shapes.items()}, path)


def cut_short(path: Path) -> None:
    other_network(path)
    path.write_bytes(path.read_bytes()[:1000])


@pytest.mark.parametrize("dry", [True, False])
@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (other_network, "does not hold the weights of slow_r50"),
        (cut_short, "is not a checkpoint that PyTorch can read"),
        (lambda path: path.write_text("hello"), "is not a checkpoint that PyTorch can read"),
        (lambda path: torch.save({"epoch": 3}, path), "holds no weights"),
        (lambda path: path.mkdir(), "cannot read weights"),
        (lambda path: None, "cannot read weights"),
    ],
)
def test_wrong_weights_are_told_before_anything_is_done(tmp_path, monkeypatch, capsys, make, complaint, dry):
    """Before the videos are looked at, too."""
    monkeypatch.setattr("bodvcl.cli.run_videos.scan", lambda *_, **__: pytest.fail("the data were scanned"))
    path = tmp_path / "weights.pyth"
    make(path)
    options = ["--model.backbone", "slow_r50", "--model.weights", str(path), "--device", "cpu"]
    options += ["--data", str(tmp_path), "--run-dir", str(tmp_path / "r"), *(["--dry-run"] if dry else [])]
    assert main(options) == 2
    assert complaint in said(capsys)
    assert not (tmp_path / "r").exists()


@given(st.sampled_from([b"", b"\x80\x02", b"\x80\x02}q\x00", b"PK\x03\x04"]), st.binary(max_size=60))
@example(b"", b"hello")
@settings(max_examples=30)
def test_whatever_a_file_holds_it_is_one_line(start, rest):
    """As weights, as a checkpoint, and as an encoder."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / LAST
        path.parent.mkdir()
        path.write_bytes(start + rest)
        with pytest.raises(CheckpointError):
            weights_report(ModelConfig(backbone="slow_r50", weights=str(path)))
        with pytest.raises(CheckpointError):
            load_run(path)
        with pytest.raises(CheckpointError):
            read_checkpoint(Path(folder), dump_yaml(TrainConfig()), torch.device("cpu"), listed=False)


def test_weights_with_nan_are_refused(tmp_path, capsys):
    weights = video.r3d_18().state_dict()
    weights["layer1.0.conv1.0.weight"][0] = float("nan")
    torch.save(weights, tmp_path / "w.pth")
    options = ["--model.backbone", "r3d_18", "--model.weights", str(tmp_path / "w.pth"), "--device", "cpu"]
    assert main([*options, "--dry-run"]) == 2
    assert "holds NaN or infinities (layer1.0.conv1.0.weight)" in said(capsys)


def test_weights_that_are_not_on_disk_are_announced_and_not_downloaded(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", lambda *_, **__: pytest.fail("downloaded"))
    config = ModelConfig(backbone="r3d_18", weights="R3D_18_Weights.KINETICS400_V1")
    assert weights_report(config)[-1].startswith("  to be downloaded from https://download.pytorch.org/")


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        ("{}/nowhere", "no such file or folder"),
        ("{}/empty", "no video found in this folder or below"),
        ("{}/list.csv", "list"),
        ("ucf102:{}", "did you mean ucf101?"),
    ],
)
def test_data_that_are_not_there_are_told(tmp_path, capsys, data, complaint):
    (tmp_path / "empty").mkdir()
    (tmp_path / "list.csv").write_text("name\na.mp4\n")
    assert main(["--data", data.format(tmp_path), "--device", "cpu", "--dry-run"]) == 2
    assert complaint in said(capsys)


def test_videos_are_counted_and_not_opened(tmp_path, capsys):
    for number in range(3):
        (tmp_path / f"{number}.mp4").write_text("no video at all")
    assert main(["--config", "scenes", "--data", str(tmp_path), "--device", "cpu", "--dry-run"]) == 0
    assert "3 videos listed in" in capsys.readouterr().out


def test_going_on_is_rehearsed(tiny, tmp_path, capsys):
    run = tmp_path / "r"
    options = ["--dry-run", "--run-dir", str(run)]
    assert main([*tiny, *QUIET, "--max-steps", "1", "--run-dir", str(run)]) == 0
    before = tree(run)
    capsys.readouterr()
    assert main(["--resume", *options, "--optim.lr", "1"]) == 0
    out = capsys.readouterr().out
    assert f"{run} would continue at step 1" in out
    assert "changed since the checkpoint: optim.lr was 0.002, now 1.0" in out
    assert main(["--resume", *options, "--seed", "8"]) == 2
    assert "belongs to another configuration (seed was 1, now 8)" in said(capsys)
    assert main([*tiny, *options]) == 2
    assert "already holds a run: continue it with --resume" in said(capsys)
    with locked(run):
        assert main(["--resume", *options]) == 2
        assert "is being written by process" in said(capsys)
    assert {name: when for name, when in tree(run).items() if not name.endswith(".lock")} == {
        name: when for name, when in before.items() if not name.endswith(".lock")
    }
    (run / LAST).write_bytes(b"damaged")
    assert main(["--resume", *options]) == 2
    assert "is not a readable checkpoint" in said(capsys)
    (run / LAST).write_bytes((run / ENCODER).read_bytes())
    assert main(["--resume", *options]) == 2
    assert "holds no state of a training run" in said(capsys)
    (run / LAST).unlink()
    assert main(["--resume", *options]) == 0
    assert f"{run} has no checkpoint yet: it would start" in capsys.readouterr().out
