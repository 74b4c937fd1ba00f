"""`bodvcl probe` from the command line, on real files."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bodvcl.cli import main
from bodvcl.config import ClipConfig, DigitsConfig, ModelConfig, ShapesConfig, TrainConfig
from bodvcl.data import shapes
from bodvcl.engine.checkpoint import save_encoder
from bodvcl.models.encoder import build_encoder


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> TrainConfig:
    return TrainConfig(
        shapes=ShapesConfig(
            cache=tmp_path_factory.mktemp("shapes"), train_videos=8, probe_videos=32, frames=12, size=32
        ),
        clip=ClipConfig(frames=4, stride=2, size=16),
        model=ModelConfig(width=4, embed_dim=8, hidden_dim=16),
    )


@pytest.fixture(scope="module")
def runs(config: TrainConfig, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Run folders with two encoders."""
    folders = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        folder = tmp_path_factory.mktemp("run")
        (folder / "checkpoint").mkdir()
        save_encoder(folder, 1, config, build_encoder(config.model))
        folders.append(folder)
    return folders


@pytest.fixture(scope="module")
def rows(config: TrainConfig) -> list[dict[str, str]]:
    """The list of the probe videos, with absolute paths and without splits."""
    listed = shapes.prepare(config.shapes, workers=1, progress=False)
    with open(listed, newline="") as file:
        found = [row for row in csv.DictReader(file) if row.pop("split").startswith("probe")]
    return [{**row, "path": str(Path(listed).parent / row["path"])} for row in found]


def write_list(path: Path, rows: list[dict[str, str]]) -> str:
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    return str(path)


@pytest.fixture
def probe(runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Runs the verb on the first run; returns exit code, what it printed, and its complaint."""

    def run(*options: str, checkpoint: Path = runs[0], cached: bool = True) -> tuple[int, str, str]:
        always = [
            "--checkpoint",
            str(checkpoint),
            "--device",
            "cpu",
            "--workers",
            "0",
            "--clips-per-video",
            "1",
        ]
        cache = ["--cache", str(tmp_path / "cache")] if cached else []
        code = main(["probe", *always, *cache, *options])
        captured = capsys.readouterr()
        complaints = [line for line in captured.err.splitlines() if line.startswith("bodvcl probe: error")]
        return code, captured.out, complaints[0] if complaints else ""

    return run


def test_everything_at_once(probe, runs: list[Path], tmp_path: Path) -> None:
    out, plot = tmp_path / "new" / "probe.json", tmp_path / "probe.svg"
    code, text, _ = probe(
        "--streams", "--labels", "background", "shape", "--against", str(runs[1]),
        "--probe", "ridge", "sgd", "knn", "retrieval",
        "--out", str(out), "--plot", str(plot),
    )  # fmt: skip
    assert code == 0
    assert "probe_train (16 videos) trains, probe_test (16 videos) tests; left out: 8 of train" in text
    assert "knn: k is 200, but there are only 16 videos to train on: all of them vote" in text
    assert f"gain over {runs[1]}" in text
    report = json.loads(out.read_text(), parse_constant=pytest.fail)
    assert (report["videos"], report["clips_per_video"], report["control"]) == (32, 1, "none")
    found = {(row["semantic"], row["features"], row["probe"], row["metric"]): row for row in report["rows"]}
    assert len(found) == len(report["rows"]) == 2 * 4 * (3 + 3)
    assert {row["metric"] for row in report["rows"]} == {"top1", "R@1", "R@5", "R@10"}
    background = found["background", "backbone", "ridge", "top1"]
    assert background["value"] > 0.75
    for row in report["rows"]:
        assert row["low"] <= row["value"] <= row["high"]
        assert row["gain"] == pytest.approx(row["value"] - row["against"])
        assert (row["train"], row["test"], row["classes"]) == (16, 16, 2)
    classes = {(c["semantic"], c["features"], c["probe"]): c["classes"] for c in report["per_class"]}
    assert len(classes) == 2 * 4 * 3
    assert {c["test"] for c in classes["shape", "static", "knn"].values()} == {8}
    svg = plot.read_text()
    assert svg.lstrip().startswith("<?xml")
    for word in ("background", "shape", "chance", "projector"):
        assert word in svg


def test_features_are_computed_once(probe) -> None:
    first, second, third = (
        probe(),
        probe("--probe", "sgd", "--labels", "shape"),
        probe("--no-cache", cached=False),
    )
    assert [code for code, *_ in (first, second, third)] == [0, 0, 0]
    assert ["reused from" in text for _, text, _ in (first, second, third)] == [False, True, False]
    table = first[1][first[1].index("accuracy in %") :]
    assert table == third[1][third[1].index("accuracy in %") :]
    assert "trajectory" not in second[1]


def test_an_encoder_gains_nothing_over_itself(probe, runs: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "probe.json"
    encoder = runs[0] / "checkpoint" / "encoder.pt"
    code, *_ = probe("--against", str(encoder), "--out", str(out))
    assert code == 0
    assert {row["gain"] for row in json.loads(out.read_text())["rows"]} == {0.0}


def test_another_encoder_with_longer_clips(
    probe, config: TrainConfig, rows: list[dict[str, str]], tmp_path: Path
) -> None:
    listed = write_list(tmp_path / "list.csv", rows)
    other = tmp_path / "other"
    for stride, code, message in ((3, 0, ""), (5, 2, "every video is too short for the other encoder")):
        longer = replace(config, clip=replace(config.clip, stride=stride))
        (other / "checkpoint").mkdir(parents=True, exist_ok=True)
        save_encoder(other, 1, longer, build_encoder(config.model))
        options = ("--data", listed, "--against", str(other), "--labels", "shape", "--probe", "ridge")
        found, _, error = probe(*options)
        assert (found, message in error) == (code, True)
    assert probe(*options, "--clip.stride", "2")[0] == 0


def test_against_the_untrained_encoder(probe, tmp_path: Path) -> None:
    out = tmp_path / "probe.json"
    code, text, _ = probe("--against", "untrained", "--labels", "shape", "--out", str(out))
    assert code == 0
    assert "gain over untrained" in text
    assert all(-1 <= row["gain_low"] <= row["gain_high"] <= 1 for row in json.loads(out.read_text())["rows"])


def test_controls(probe, tmp_path: Path) -> None:
    reports = {}
    for control in ("static", "dynamic"):
        out = tmp_path / f"{control}.json"
        code, text, _ = probe("--control", control, "--probe", "ridge", "--out", str(out))
        assert code == 0
        assert f"{control} control" in text
        reports[control] = json.loads(out.read_text())
    assert "TV-L1" in reports["dynamic"]["control"] or "RAFT" in reports["dynamic"]["control"]
    background = {
        control: next(row["value"] for row in report["rows"] if row["semantic"] == "background")
        for control, report in reports.items()
    }
    assert background["static"] > 0.75
    assert background["dynamic"] < 0.75


def test_the_moving_digits_are_known_by_name(probe, config: TrainConfig, tmp_path: Path) -> None:
    small = DigitsConfig(cache=tmp_path / "digits", train_videos=8, probe_videos=32, frames=12, size=32)
    (tmp_path / "run" / "checkpoint").mkdir(parents=True)
    encoder = build_encoder(config.model)
    save_encoder(tmp_path / "run", 1, replace(config, data="digits", digits=small), encoder)
    plot = tmp_path / "probe.svg"
    code, text, _ = probe("--checkpoint", str(tmp_path / "run"), "--plot", str(plot))
    assert code == 0
    assert re.search(r"^ digit +backbone", text, re.MULTILINE)
    assert re.search(r"^ traj\S+ +backbone", text, re.MULTILINE)
    drawn = plot.read_text()
    assert "chance" in drawn
    assert "None" not in drawn


def test_a_list_without_splits_is_divided_by_the_seed(probe, rows, tmp_path: Path) -> None:
    data = write_list(tmp_path / "list.csv", [{**row, "camera": "same"} for row in rows])
    out, plot = tmp_path / "probe.json", tmp_path / "probe.png"
    options = ("--seed", "5", "--labels", "background", "camera", "--out", str(out), "--plot", str(plot))
    code, text, _ = probe("--data", data, *options)
    assert code == 0
    assert "camera skipped: all videos have the same label" in text
    skipped = [
        row for row in json.loads(out.read_text(), parse_constant=pytest.fail)["rows"] if row["skipped"]
    ]
    assert [(row["semantic"], "value" in row) for row in skipped] == [("camera", False)]
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert "half of each class trains and the other half tests, drawn with seed 5" in text


def test_a_folder_per_class(probe, rows, tmp_path: Path) -> None:
    for number, row in enumerate(rows):
        folder = tmp_path / "data" / row["background"]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.mp4").symlink_to(row["path"])
    out = tmp_path / "probe.json"
    code, *_ = probe("--data", f"class-folders:{tmp_path / 'data'}", "--probe", "ridge", "--out", str(out))
    assert code == 0
    (row,) = json.loads(out.read_text())["rows"]
    assert (row["train"], row["test"], row["classes"], row["skipped"]) == (16, 16, 2, None)


def test_an_unreadable_video_is_left_out_and_counted(probe, rows, tmp_path: Path) -> None:
    copy = tmp_path / "broken.mp4"
    data = bytearray(Path(rows[0]["path"]).read_bytes())
    copy.write_bytes(bytes(data[: len(data) // 2]))
    code, text, _ = probe("--data", write_list(tmp_path / "l.csv", [*rows, {**rows[0], "path": str(copy)}]))
    assert code == 0
    assert "skipped 1 file" in text or "1 of 33 videos could not be read" in text


def test_clips_can_be_others_than_the_run_s(probe, tmp_path: Path) -> None:
    out = tmp_path / "probe.json"
    code, *_ = probe("--clip.frames", "5", "--clip.size", "24", "--labels", "shape", "--out", str(out))
    assert code == 0
    clip = json.loads(out.read_text())["clip"]
    assert (clip["frames"], clip["size"], clip["stride"]) == (5, 24, 2)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--checkpoint", "/nowhere"], r"no checkpoint at /nowhere"),
        (["--data", ""], r"the data is an empty text"),
        (["--data", "/nowhere.csv"], r"/nowhere.csv: no such file"),
        (["--labels", "colour"], r"--labels colour: no such column; there are: background, shape"),
        (["--plot", "a.pdf"], r"--plot a.pdf: expected a name that ends in .png or .svg"),
        (["--k", "0"], r"--k: expected a whole number of 1 or more, got 0"),
        (["--temperature", "nan"], r"--temperature: expected a number above 0"),
        (["--probe", "svm"], r"invalid choice: 'svm'"),
        (["--clip.frames", "2"], r"clip.frames"),
        (["--flow", "raft"], r"--flow raft is of the dynamic control"),
        (["--no-cache"], r"--cache and --no-cache contradict"),
        (["--device", "cuda:99"], r"--device cuda:99"),
        (["--nonsense"], r"unrecognized arguments: --nonsense"),
    ],
)
def test_mistakes_are_one_line(probe, options: list[str], complaint: str) -> None:
    code, _, error = probe(*options)
    assert code == 2
    assert re.search(complaint, error), error


def test_a_training_state_is_no_encoder(probe, runs: list[Path], tmp_path: Path) -> None:
    state = torch.load(runs[0] / "checkpoint" / "encoder.pt", weights_only=True)
    del state["model"]
    torch.save(state, tmp_path / "last.pt")
    code, _, error = probe(checkpoint=tmp_path / "last.pt")
    assert code == 2
    assert "holds the state of a training run, not an encoder" in error
    torch.save({"weights": 1}, tmp_path / "other.pt")
    code, _, error = probe(checkpoint=tmp_path / "other.pt")
    assert code == 2
    assert "is not a bodvcl checkpoint" in error


@pytest.mark.parametrize(
    ("labels", "complaint"),
    [
        ({}, "no video has a label"),
        ({"x": "same"}, "no label can be probed (x: all videos have the same label)"),
    ],
)
def test_data_that_cannot_be_probed(probe, rows, tmp_path: Path, labels: dict, complaint: str) -> None:
    data = write_list(tmp_path / "list.csv", [{"path": row["path"], **labels} for row in rows[:6]])
    code, _, error = probe("--data", data)
    assert code == 2
    assert complaint in error


def test_a_class_that_is_only_tested_is_refused(probe, rows, tmp_path: Path) -> None:
    listed = [
        {"path": row["path"], "split": "train" if i < 8 else "test", "x": "ab"[i % 2] if i < 12 else "new"}
        for i, row in enumerate(rows[:14])
    ]
    code, _, error = probe("--data", write_list(tmp_path / "list.csv", listed))
    assert code == 2
    assert "label x: new can only be found among the videos to test on" in error


def test_the_page_names_options_that_exist_and_its_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["probe", "--help"])
    known = set(re.findall(r"--[a-z][a-z.-]*[a-z]", capsys.readouterr().out)) | {"--k"}
    page = (Path(__file__).parents[2] / "docs" / "probe.md").read_text()
    assert set(re.findall(r"--[a-z][a-z.-]*[a-z]|--k\b", page)) <= known
    (example,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    exec(example, {})
    assert "retrieval R@50" in capsys.readouterr().out


@pytest.mark.parametrize("how", ["same path", "another spelling", "link", "hard link", "copy"])
def test_a_video_that_trains_and_tests_is_refused(probe, rows, tmp_path: Path, how: str) -> None:
    source = Path(rows[0]["path"])
    again = tmp_path / "again.mp4"
    if how == "same path":
        again = source
    elif how == "another spelling":
        again = source.parent / ".." / source.parent.name / source.name
    elif how == "copy":
        shutil.copyfile(source, again)
    elif how == "link":
        again.symlink_to(source)
    else:
        os.link(source, again)
    listed = [{**row, "split": "Training" if n % 2 else "testing"} for n, row in enumerate(rows)]
    both = {**listed[0], "path": str(again), "split": "train"}
    path = write_list(tmp_path / "list.csv", [*listed, both])
    code, _, complaint = probe("--data", path, "--probe", "ridge")
    assert code == 2
    assert "1 video would both train the probe and test it" in complaint
    assert str(source) in complaint
    assert how == "same path" or str(again) in complaint
    assert "--drop-overlap" in complaint
    code, text, _ = probe("--data", path, "--probe", "ridge", "--drop-overlap")
    assert code == 0
    assert "left out of the test, because they train too: 1 video" in text
    assert "train (17 videos) trains, test (15 videos) tests" in text


def test_a_list_that_trains_on_its_test_is_refused_before_a_checkpoint_is_looked_for(
    probe, rows, tmp_path: Path
) -> None:
    path = write_list(tmp_path / "list.csv", [{**rows[0], "split": split} for split in ("train", "test")])
    code, _, complaint = probe("--data", path, checkpoint=tmp_path / "nowhere")
    assert code == 2
    assert "1 video would both train the probe and test it" in complaint


def test_where_every_test_video_trains_there_is_no_test_without_them(probe, rows, tmp_path: Path) -> None:
    listed = [{**row, "split": split} for row in rows for split in ("train", "test")]
    code, _, complaint = probe("--data", write_list(tmp_path / "list.csv", listed), "--drop-overlap")
    assert code == 2
    assert "every video to test on trains too" in complaint


def test_a_video_listed_twice_is_probed_once(probe, rows, tmp_path: Path) -> None:
    copy = tmp_path / "copy.mp4"
    shutil.copyfile(rows[0]["path"], copy)
    path = write_list(tmp_path / "list.csv", [*rows, rows[1], {**rows[0], "path": str(copy)}])
    out = tmp_path / "probe.json"
    assert probe("--data", path, "--probe", "ridge", "--out", str(out))[0] == 0
    assert json.loads(out.read_text())["videos"] == len(rows)
