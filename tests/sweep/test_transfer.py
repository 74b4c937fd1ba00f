"""Transfer as a sweep: checkpoints over data sets, those that are missing are named."""

from __future__ import annotations

import json
import re

import pytest

from bodvcl.cli.sweep import main
from bodvcl.sweep.file import read_sweep
from bodvcl.sweep.find import find_sweep

DATA = ("ucf101:/u", "ssv2:/s", "gym99:/g", "gym288:/g", "diving48:/d")


def runs(folder, count=2):
    """Folders that stand for checkpoints; a plan only looks whether they are there."""
    made = [folder / f"run{n}" for n in range(count)]
    for path in made:
        path.mkdir()
    return [str(path) for path in made]


def test_every_checkpoint_meets_every_data_set(tmp_path, capsys):
    starts = runs(tmp_path)
    words = ["severe", "--checkpoints", *starts, "--data", *DATA, "--dry-run", "--out", str(tmp_path / "out")]
    assert main(words) == 0
    out = capsys.readouterr().out
    commands = re.findall("bodvcl finetune .*", out)
    tasks = read_sweep(find_sweep("transfer/severe")).vary["task"]
    assert len(commands) == 2 * len(tasks)
    for start in starts:
        assert sum(f"--checkpoint {start} " in command for command in commands) == len(tasks)
    assert sum("--train-videos 1000" in command for command in commands) == 4
    assert all("--data ucf101@1:/u" in c for c in commands if "severe_ucf101" in c)
    assert "left out" not in out


def test_data_sets_that_are_missing_are_named_and_left_out(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["severe", "--checkpoints", *runs(tmp_path), "--dry-run", "--out", "out"]
    assert main([*words, "--data", "ucf101:/u"]) == 0
    out = capsys.readouterr().out
    assert len(re.findall("bodvcl finetune .*", out)) == 4
    assert out.count("left out: domain: SSv2 (needs --data ssv2:FOLDER)") == 1
    assert main(words) == 2
    error = capsys.readouterr().err
    assert "no run is left, for want of data: UCF101 (needs --data ucf101@1:FOLDER); domain: SSv2" in error
    assert error.count("\n") == 1
    (tmp_path / "datasets" / "ssv2").mkdir(parents=True)
    assert main(words) == 0
    assert "--data ssv2:datasets/ssv2" in capsys.readouterr().out
    assert main(["severe", "--dry-run", "--out", "out"]) == 2
    assert "vary.checkpoint stands for checkpoints: give runs with --checkpoints" in capsys.readouterr().err


def test_checkpoints_are_named_by_what_tells_them_apart(tmp_path, capsys):
    starts = [tmp_path / name / "0" / "run" for name in ("plain", "ours")]
    for path in starts:
        path.mkdir(parents=True)
    words = ["severe", "--small", "--dry-run", "--out", str(tmp_path / "out"), "--checkpoints"]
    assert main([*words, *map(str, starts)]) == 0
    assert "plain/0/run, domain: shapes, seed 0" in capsys.readouterr().out
    assert main([*words, str(starts[0]), str(starts[0])]) == 2
    assert "run is given twice" in capsys.readouterr().err


@pytest.mark.slow
def test_the_small_transfer_ends_in_a_row_per_checkpoint(tmp_path, finished_run, shapes_cache):
    tiny = [
        "--epochs",
        "1",
        "--digits.train-videos",
        "16",
        "--digits.probe-videos",
        "32",
        "--digits.frames",
        "20",
    ]
    tiny += [
        "--digits.size",
        "32",
        "--digits.cache",
        str(tmp_path / "digits"),
        "--device",
        "cpu",
        "--batch-size",
        "8",
    ]
    tiny += ["--test.clips", "1"]
    only = ["domain: digits", "samples: 64 of digits"]
    out = tmp_path / "out"
    words = [
        "severe",
        "--small",
        "--out",
        str(out),
        "--checkpoints",
        str(finished_run),
        "--only",
        *only,
        "--",
        *tiny,
    ]
    assert main(words) == 1, "there are fewer than 64 training videos"
    table = (out / "table.md").read_text()
    assert re.search(r"\| checkpoint \| domain: digits: top1 \|\n", table)
    assert re.search(rf"\| {finished_run.name} \| [\d.]+ \|\n", table)
    assert f"Not finished, and left out: {finished_run.name}, samples: 64 of digits (seed 0)." in table
    (entry,) = json.loads((out / "table.json").read_text())["entries"]
    assert 0 <= entry["mean"] <= 100
