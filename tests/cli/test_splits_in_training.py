"""What ``bodvcl train`` makes of the splits of a list, and says about it."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from bodvcl.cli.main import main
from bodvcl.config.schema import ShapesConfig
from bodvcl.data.made import shapes

SMALL = [
    "--device", "cpu", "--workers", "0", "--batch-size", "4", "--max-steps", "1", "--clip.size", "16",
    "--clip.frames", "4", "--model.width", "4", "--model.embed-dim", "8", "--model.hidden-dim", "8",
    "--log.no-report",
]  # fmt: skip


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, str]]:
    """(path, label) of 24 videos."""
    config = ShapesConfig(
        cache=tmp_path_factory.mktemp("shapes"), train_videos=8, probe_videos=16, frames=12, size=32
    )
    listed = shapes.prepare(config, workers=1, progress=False)
    with open(listed, newline="") as file:
        return [
            (str(Path(listed).parent / row["path"]), str(n % 2)) for n, row in enumerate(csv.DictReader(file))
        ]


def train(tmp_path: Path, rows: list[tuple[str, str, str]], *options: str, split: str = "split") -> int:
    with open(tmp_path / "list.csv", "w", newline="") as file:
        csv.writer(file).writerows([("path", "label", split), *rows])
    where = ["--data", str(tmp_path / "list.csv"), "--run-dir", str(tmp_path / "run")]
    return main(["train", *where, *SMALL, *options])


@pytest.mark.parametrize(
    ("column", "names"), [("Split", ("Training", "Testing")), ("subset", ("TRAIN", "eval"))]
)
def test_only_the_train_split_is_trained_on_and_the_other_tests(tmp_path, capsys, videos, column, names):
    rows = [(*video, names[n >= 16]) for n, video in enumerate(videos)]
    assert train(tmp_path, rows, split=column) == 0
    out = capsys.readouterr().out
    assert "trains on 16 of 24 videos: split train; left out: test (8)" in out
    assert {row["test"] for row in json.loads((tmp_path / "run" / "probe.json").read_text())["rows"]} == {8}


@pytest.mark.parametrize("names", [("Test", "Test"), ("testing", "Validation")])
def test_a_list_with_nothing_but_test_videos_is_refused(tmp_path, capsys, videos, names):
    assert train(tmp_path, [(*video, names[n % 2]) for n, video in enumerate(videos)]) == 2
    err = capsys.readouterr().err.splitlines()[-1]
    assert err.startswith("bodvcl train: error: ")
    assert "no video to train on" in err
    assert "name the training split train" in err


def test_videos_listed_twice_are_trained_on_once_and_those_that_train_do_not_test(tmp_path, capsys, videos):
    rows = [(*video, "train" if n < 16 else "test") for n, video in enumerate(videos)]
    again = [rows[0]] * 20 + [(*rows[n][:2], "test") for n in (1, 2)]
    assert train(tmp_path, [*rows, *again]) == 0
    out = capsys.readouterr().out
    assert "found 24 videos" in out
    assert "listed more than once (same file, link or copy): 25 entries are only 3 videos" in out
    assert "2 both in train and in test" in out
    assert "trains on 16 of 24 videos: split train" in out
    assert "the probe after training does not test on 2 videos that it trains on" in out
    assert {row["test"] for row in json.loads((tmp_path / "run" / "probe.json").read_text())["rows"]} == {8}


def test_a_batch_is_not_filled_with_one_video(tmp_path, capsys, videos):
    assert train(tmp_path, [(*videos[n % 2], "train") for n in range(10)]) == 2
    assert "a batch of 4 videos cannot be filled from 2 usable videos" in capsys.readouterr().err
