"""Training, resuming and probing from tar files, as a user does it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from tar_files import in_tars

from bodvcl.cli.main import main
from bodvcl.engine.checkpoint import LAST

pytest.importorskip("pyarrow")

QUIET = ["--log.no-probe", "--log.no-report", "--workers", "0"]


@pytest.fixture(autouse=True)
def own_index(tmp_path, monkeypatch):
    monkeypatch.setenv("BODVCL_INDEX", str(tmp_path / "index" / "videos.sqlite"))


@pytest.fixture
def data(shapes_cache, finished_run, tmp_path) -> Path:
    """Folder of three tar files of eight videos, and beside it, in `plain`, the videos."""
    (tmp_path / "plain").mkdir()
    videos = [
        Path(shutil.copyfile(video, tmp_path / "plain" / f"v{number}.mp4"))
        for number, video in enumerate(sorted(shapes_cache.rglob("*.mp4"))[:8])
    ]
    in_tars(videos, tmp_path / "tars", 3)
    return tmp_path / "tars"


def train(options: list[str], *more: str) -> int:
    return main(["train", *options, *QUIET, *more])


def weights(run: Path) -> dict[str, torch.Tensor]:
    return torch.load(run / LAST, weights_only=True)["learner"]


def test_a_run_is_that_of_the_folder_and_resumes_exactly(tiny, data, tmp_path):
    pattern = str(data / "train-{000..002}.tar")
    steps = ["--max-steps", "4"]
    assert train(tiny, "--data", str(data.parent / "plain"), *steps, "--run-dir", str(tmp_path / "a")) == 0
    assert train(tiny, "--data", pattern, "--max-steps", "1", "--run-dir", str(tmp_path / "b")) == 0
    assert train([], "--resume", *steps, "--run-dir", str(tmp_path / "b")) == 0
    one, other = weights(tmp_path / "a"), weights(tmp_path / "b")
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_run_goes_on_with_the_same_tar_files_only(tiny, data, tmp_path, capsys):
    run = tmp_path / "run"
    assert train(tiny, "--data", str(data), "--max-steps", "1", "--run-dir", str(run)) == 0
    (data / "train-002.tar").rename(data / "train-003.tar")
    assert train([], "--resume", "--max-steps", "2", "--run-dir", str(run)) == 2
    assert "1 appeared (train-003.tar), 1 vanished (train-002.tar)" in capsys.readouterr().err
    moved = data.rename(tmp_path / "moved")
    (moved / "train-003.tar").rename(moved / "train-002.tar")
    assert train([], "--resume", "--data", str(moved), "--max-steps", "2", "--run-dir", str(run)) == 0


def test_bad_tar_files_end_with_one_line_and_code_2(tiny, data, tmp_path, capsys):
    broken = data / "train-001.tar"
    broken.write_bytes(broken.read_bytes()[:5000])
    assert train(tiny, "--data", str(data), "--run-dir", str(tmp_path / "r")) == 2
    bar, *_, told = capsys.readouterr().err.strip().splitlines()
    assert bar.startswith("checking tar files")
    assert "train-001.tar: truncated" in told
    assert not (tmp_path / "r" / LAST).exists()
    assert main(["data", "transcode", str(data), str(tmp_path / "copy")]) == 2
    assert "unpack them" in capsys.readouterr().err


def test_without_pyarrow_it_says_what_to_install(tiny, data, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("bodvcl.data.files.tars.scan.find_spec", lambda name: None)
    assert train(tiny, "--data", str(data), "--run-dir", str(tmp_path / "r")) == 2
    assert "need the package pyarrow: pip install pyarrow" in capsys.readouterr().err


def test_scan_show_and_dry_run(tiny, data, tmp_path, capsys):
    assert main(["data", "scan", str(data), "--json", "--workers", "0"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["videos"], report["checked_now"], report["faults"]) == (8, 3, [])
    assert main(["data", "scan", str(data)]) == 0
    assert "0 tar files checked, 3 known already" in capsys.readouterr().out
    assert main(["data", "show", str(data), "--out", str(tmp_path / "sheet.png"), "--videos", "2"]) == 0
    assert train(tiny, "--config", "scenes", "--data", str(data), "--dry-run") == 0
    assert "3 tar files" in capsys.readouterr().out


def test_the_whole_run_with_its_probe(tiny, data, tmp_path):
    run = tmp_path / "run"
    options = [*tiny, "--data", str(data), "--max-steps", "1", "--run-dir", str(run), "--workers", "0"]
    assert main(["train", *options]) == 0
    assert (run / "report.html").exists()
    summary = json.loads((run / "summary.json").read_text())
    assert summary["videos"] == 8


def test_a_probe_in_another_folder_finds_the_tar_files(tiny, data, tmp_path, monkeypatch, capsys):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(data)
    options = ["--data", "train-{000..002}.tar", "--max-steps", "1", "--run-dir", str(tmp_path / "r")]
    assert train(tiny, *options) == 0
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert main(["probe", "--checkpoint", str(tmp_path / "r")]) == 2
    captured = capsys.readouterr()
    assert f"data of the run: train-{{000..002}}.tar in {data}, where training ran" in captured.out
    assert "with label columns" in captured.err
