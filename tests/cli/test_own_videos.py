"""``bodvcl train --data FOLDER`` and nothing else: what is trained, what is said, and how it goes on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from processes import finish, start

from bodvcl.cli.fit import fitted_videos
from bodvcl.cli.main import main
from bodvcl.config.methods import WHOLE_CLIP
from bodvcl.config.parse import load_yaml, parse_config
from bodvcl.config.schema import ShapesConfig
from bodvcl.data.made import shapes
from bodvcl.data.sets import open_dataset
from bodvcl.engine.ranks import Ranks, World
from bodvcl.engine.timing import step_seconds

SMALL = [
    "--device", "cpu", "--workers", "0", "--max-steps", "1", "--clip.size", "16", "--model.width", "4",
    "--log.no-report", "--log.no-probe",
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 videos of 40 frames at 20 frames per second."""
    root = tmp_path_factory.mktemp("own")
    made = ShapesConfig(cache=root / "cache", train_videos=8, probe_videos=16, frames=40, size=32)
    shapes.prepare(made, workers=1, progress=False)
    (root / "mine").mkdir()
    for number, path in enumerate(sorted((root / "cache").rglob("*.mp4"))):
        shutil.copyfile(path, root / "mine" / f"{number}.mp4")
    return root / "mine"


def test_the_recipe_is_announced_and_saved_and_resumed(folder, tmp_path, capsys):
    run = tmp_path / "run"
    assert main(["train", "--data", str(folder), *SMALL, "--run-dir", str(run)]) == 0
    out = capsys.readouterr().out
    (line,) = [line for line in out.splitlines() if line.startswith("recipe videos, fitted to ")]
    assert "fitted to 24 videos and this CPU (--dry-run says why): tiny of width 4, clips of 8x16x16" in line
    assert "1 step of " in line
    saved = load_yaml(run / "config.yaml")
    assert saved.fit == ()
    assert (saved.batch_size, saved.clip.frames, saved.augment.mix, saved.augment.blur) == (8, 8, 1, 0.3)
    assert saved.epochs > 24
    (folder / "one_more.mp4").write_bytes((folder / "0.mp4").read_bytes()[:-1])
    try:
        more = ["--resume", "--run-dir", str(run), "--max-steps", "2", "--resume-with-other-videos"]
        assert main(["train", *more]) == 0
    finally:
        (folder / "one_more.mp4").unlink()
    assert load_yaml(run / "config.yaml").epochs == saved.epochs
    assert "fitted to" not in capsys.readouterr().out


def test_a_dry_run_explains_every_value_and_writes_nothing(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["train", "--data", str(folder), "--device", "cpu", "--workers", "0", "--dry-run"]) == 0
    out = capsys.readouterr().out
    told = out.partition("recipe videos, fitted to")[2].splitlines()[1:]
    reasons = {line.split()[0]: line for line in told if line.startswith("  ")}
    assert set(reasons) == set(parse_config(["--data", "mine"]).fit)
    assert reasons["clip.stride"].startswith("  clip.stride 3: the median video has 2 s at 20 fps, a clip")
    assert yaml.safe_load(out.partition("\n\n")[2].partition("\n\n")[0])["clip"]["stride"] == 3
    assert not list(tmp_path.iterdir())


def test_the_videos_are_scanned_once(folder, tmp_path, monkeypatch):
    scans = []
    monkeypatch.setattr(
        "bodvcl.data.files.scan.open_dataset", lambda *a, **k: (scans.append(a), open_dataset(*a, **k))[1]
    )
    assert main(["train", "--data", str(folder), *SMALL, "--run-dir", str(tmp_path / "r")]) == 0
    assert len(scans) == 1


def test_where_no_video_holds_a_clip_that_is_said(folder, tmp_path, capsys):
    words = ["train", "--data", str(folder), *SMALL, "--run-dir", str(tmp_path / "r")]
    assert main([*words, "--clip.frames", "8", "--clip.stride", "6"]) == 2
    assert "40 frames, a clip of 8 frames with stride 6 needs 43" in capsys.readouterr().err


def test_contradictions_are_told_before_the_scan(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("bodvcl.cli.run_videos.scan", lambda *_, **__: pytest.fail("scanned"))
    words = ["train", "--data", str(folder), "--device", "cpu", "--run-dir", str(tmp_path / "r")]
    assert main([*words, "--koopman.rank", "20"]) == 2
    assert "rank is at most 7" in capsys.readouterr().err
    assert main([*words, "--model.backbone", "slow_r50", "--model.weights", "torchvision"]) == 2
    assert "torchvision has none for slow_r50" in capsys.readouterr().err
    assert not (tmp_path / "r").exists()


def test_measuring_a_step_leaves_the_random_numbers_alone(folder):
    config, _, _ = fitted_videos(parse_config(["--data", str(folder), *SMALL]), torch.device("cpu"), World())
    before = torch.get_rng_state()
    assert step_seconds(config, Ranks(World(), torch.device("cpu"))) > 0
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("method", ["moco", "byol", "swav", "dualvar", "hdc"])
def test_a_step_of_every_method_can_be_measured(method):
    words = [*SMALL, "--method", method, "--clip.frames", "6", "--batch-size", "4"]
    if method in WHOLE_CLIP:
        words += ["--decouple", "none", "--clip.views", "3", "--clip.twin"]
    config = parse_config(words)
    assert step_seconds(config, Ranks(World(), torch.device("cpu"))) > 0


def test_short_videos_are_left_out_although_nothing_was_left_to_choose(folder, tmp_path, capsys):
    words = ["--config", "scenes", "--data", str(folder), *SMALL, "--clip.stride", "6", "--batch-size", "4"]
    words += ["--model.backbone", "r3d_18_thin", "--clip.size", "32", "--fit", "model.width"]
    words.remove("--model.width")
    words.remove("4")
    assert main(["train", *words, "--run-dir", str(tmp_path / "r")]) == 2
    assert "40 frames, a clip of 8 frames with stride 6 needs 43" in capsys.readouterr().err


def test_show_draws_clips_of_the_chosen_length(folder, tmp_path, capsys):
    words = ["data", "show", str(folder), "--out", str(tmp_path / "x.html"), "--videos", "1"]
    assert main([*words, "--device", "cpu", "--workers", "0"]) == 0
    assert "1 video, 2 clips" in capsys.readouterr().out


@pytest.mark.slow
def test_two_processes_agree(folder, tmp_path):
    run = tmp_path / "run"
    words = ["--data", str(folder), *SMALL, "--run-dir", str(run)]
    (code, out, err), (other_code, other_out, _) = finish(start(words))
    assert (code, other_code) == (0, 0), err
    assert out.count("recipe videos, fitted to") == 1
    assert not other_out
    assert load_yaml(run / "config.yaml").batch_size == 8
    assert json.loads((run / "summary.json").read_text())["steps"] == 1
