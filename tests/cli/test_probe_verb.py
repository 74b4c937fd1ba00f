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

from bodvcl.cli.main import main
from bodvcl.config.parse import dump_yaml
from bodvcl.config.schema import ClipConfig, DigitsConfig, ModelConfig, ShapesConfig, TrainConfig
from bodvcl.data.made import shapes
from bodvcl.engine.checkpoint import save_encoder
from bodvcl.models.encoder import build_encoder


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> TrainConfig:
    return TrainConfig(
        data="shapes",
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
        save_encoder(folder, 1, dump_yaml(config), config.model, build_encoder(config.model))
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
    assert "knn: k is 200, but there are only 16 training videos: all of them vote" in text
    assert f"gain over {runs[1]}" in text
    report = json.loads(out.read_text(), parse_constant=pytest.fail)
    assert (report["videos"], report["clips_per_video"], report["control"]) == (32, 1, "none")
    found = {(row["semantic"], row["features"], row["probe"], row["metric"]): row for row in report["rows"]}
    assert len(found) == len(report["rows"]) == 2 * 5 * (3 + 3)
    assert {row["metric"] for row in report["rows"]} == {"top1", "R@1", "R@5", "R@10"}
    background = found["background", "backbone", "ridge", "top1"]
    assert background["value"] > 0.75
    for row in report["rows"]:
        assert row["low"] <= row["value"] <= row["high"]
        assert row["gain"] == pytest.approx(row["value"] - row["against"])
        assert (row["train"], row["test"], row["classes"]) == (16, 16, 2)
    classes = {(c["semantic"], c["features"], c["probe"]): c["classes"] for c in report["per_class"]}
    assert len(classes) == 2 * 5 * 3
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
        save_encoder(other, 1, dump_yaml(longer), longer.model, build_encoder(config.model))
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
    save_encoder(
        tmp_path / "run", 1, dump_yaml(replace(config, data="digits", digits=small)), config.model, encoder
    )
    plot = tmp_path / "probe.svg"
    code, text, _ = probe("--checkpoint", str(tmp_path / "run"), "--plot", str(plot))
    assert code == 0
    assert re.search(r"^ digit +backbone", text, re.MULTILINE)
    assert re.search(r"^ trajectory +backbone", text, re.MULTILINE)
    drawn = plot.read_text()
    assert "chance" in drawn
    assert "None" not in drawn


def test_a_list_without_splits_is_divided_by_the_seed(probe, rows, tmp_path: Path) -> None:
    data = write_list(tmp_path / "list.csv", [{**row, "camera": "same"} for row in rows])
    out, plot = tmp_path / "probe.json", tmp_path / "probe.png"
    options = ("--seed", "5", "--out", str(out), "--plot", str(plot))
    code, text, _ = probe("--data", data, *options)
    assert code == 0
    assert "camera skipped: all videos have the same label" in text
    skipped = [
        row for row in json.loads(out.read_text(), parse_constant=pytest.fail)["rows"] if row["skipped"]
    ]
    assert [(row["semantic"], "value" in row) for row in skipped] == [("camera", False)] * 2
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert "half of each class trains and the other half tests, drawn with seed 5" in text


def test_several_classes_in_a_cell(probe, rows, tmp_path: Path) -> None:
    """Background and shape in one column: both are read, each class by itself."""
    several = [{"path": row["path"], "both": f"{row['background']}|{row['shape']}"} for row in rows]
    data, out = write_list(tmp_path / "several.csv", several), tmp_path / "probe.json"
    code, text, _ = probe("--data", data)
    assert code == 0
    assert "note: label both: cells contain '|', and each counts as one class" in text
    code, text, _ = probe("--data", data, "--labels", "both", "--multi-label", "--out", str(out))
    assert code == 0
    assert "label both can have several classes: '|' separates classes in 32 of 32 cells" in text
    assert "the halves are drawn from all videos with a label" in text
    assert "mean average precision in %" in text
    assert "mAP" in text
    report = json.loads(out.read_text(), parse_constant=pytest.fail)
    rows_of_map = [row for row in report["rows"] if row["metric"] == "map"]
    assert {(row["probe"], row["classes"], row["train"], row["test"]) for row in rows_of_map} == {
        ("ridge", 4, 16, 16), ("knn", 4, 16, 16),
    }  # fmt: skip
    assert report["separator"] == "|"
    assert all(set(part) == {"ap", "test"} for part in report["per_class"][0]["classes"].values())
    code, _, complaint = probe("--data", data, "--multi-label")
    assert code == 2
    assert "name the columns whose cells hold several classes with --labels" in complaint


def test_a_folder_per_class(probe, rows, tmp_path: Path) -> None:
    for number, row in enumerate(rows):
        folder = tmp_path / "data" / row["background"]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.mp4").symlink_to(row["path"])
    out = tmp_path / "probe.json"
    code, *_ = probe("--data", f"class-folders:{tmp_path / 'data'}", "--probe", "ridge", "--out", str(out))
    assert code == 0
    row, with_std = json.loads(out.read_text())["rows"]
    assert (row["features"], with_std["features"]) == ("backbone", "backbone+std")
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


def test_videos_that_are_too_short_can_be_kept(probe) -> None:
    options = ("--labels", "shape", "--probe", "ridge", "--clip.stride", "5")
    code, _, error = probe(*options)
    assert (code, "--clip.short repeat" in error) == (2, True)
    assert probe(*options, "--clip.short", "repeat")[0] == 0


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--checkpoint", "/nowhere"], r"no checkpoint at /nowhere"),
        (["--data", ""], r"the data is an empty text"),
        (["--data", "/nowhere.csv"], r"/nowhere.csv: no such file"),
        (["--labels", "colour"], r"--labels colour: no such column; there are: background, shape"),
        (["--labels", "Trajectroy"], r"no such column \(did you mean trajectory\?\); there are: background"),
        (["--out", "."], r"--out: cannot write \.: it is a folder"),
        (["--out", f"{__file__}/probe.json"], r"--out: cannot write \S+probe.json: Not a directory"),
        (["--plot", f"{__file__}/probe.png"], r"--plot: cannot write \S+probe.png: Not a directory"),
        (["--plot", "a.pdf"], r"--plot a.pdf: expected a name that ends in .png or .svg"),
        (["--k", "0"], r"--k: input should be greater than or equal to 1, got 0"),
        (["--temperature", "nan"], r"--temperature: input should be a finite number, got nan"),
        (["--probe", "svm"], r"invalid choice .svm. for argument .--probe."),
        (["--clip.frames", "2"], r"clip.frames: input should be greater than or equal to 3"),
        (["--clip.frames", "0"], r"--clip.frames: input should be greater than or equal to 1"),
        (["--workers", "many"], r"--workers"),
        (["--flow", "raft"], r"--flow raft applies only to --control dynamic"),
        (["--no-cache"], r"--cache and --no-cache contradict"),
        (["--device", "cuda:99"], r"--device cuda:99"),
        (["--nonsense"], r"unknown option --nonsense; see bodvcl probe --help"),
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
        (
            {"x": "", "y": "same"},
            "no label can be probed (x: no video has this label; y: all videos have the",
        ),
    ],
)
def test_data_that_cannot_be_probed(probe, rows, tmp_path: Path, labels: dict, complaint: str) -> None:
    data = write_list(tmp_path / "list.csv", [{"path": row["path"], **labels} for row in rows[:6]])
    code, _, error = probe("--data", data)
    assert code == 2
    assert complaint in error
    assert ("--labels" in error) == bool(labels)


def test_a_class_that_is_only_tested_is_refused(probe, rows, tmp_path: Path) -> None:
    listed = [
        {"path": row["path"], "split": "train" if i < 8 else "test", "x": "ab"[i % 2] if i < 12 else "new"}
        for i, row in enumerate(rows[:14])
    ]
    code, _, error = probe("--data", write_list(tmp_path / "list.csv", listed))
    assert code == 2
    assert "no label can be probed (x: new can only be found among the videos to test on)" in error
    assert "--labels" in error


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
    assert "1 video would both train and be tested on" in complaint
    assert str(source) in complaint
    assert how == "same path" or str(again) in complaint
    assert "--drop-overlap" in complaint
    code, text, _ = probe("--data", path, "--probe", "ridge", "--drop-overlap")
    assert code == 0
    assert "left out of the test, because they also train: 1 video" in text
    assert "train (17 videos) trains, test (15 videos) tests" in text


def test_a_list_that_trains_on_its_test_is_refused_before_a_checkpoint_is_looked_for(
    probe, rows, tmp_path: Path
) -> None:
    path = write_list(tmp_path / "list.csv", [{**rows[0], "split": split} for split in ("train", "test")])
    code, _, complaint = probe("--data", path, checkpoint=tmp_path / "nowhere")
    assert code == 2
    assert "1 video would both train and be tested on" in complaint


def test_where_every_test_video_trains_there_is_no_test_without_them(probe, rows, tmp_path: Path) -> None:
    listed = [{**row, "split": split} for row in rows for split in ("train", "test")]
    code, _, complaint = probe("--data", write_list(tmp_path / "list.csv", listed), "--drop-overlap")
    assert code == 2
    assert "every test video also trains" in complaint


def test_a_video_listed_twice_is_probed_once(probe, rows, tmp_path: Path) -> None:
    copy = tmp_path / "copy.mp4"
    shutil.copyfile(rows[0]["path"], copy)
    path = write_list(tmp_path / "list.csv", [*rows, rows[1], {**rows[0], "path": str(copy)}])
    out = tmp_path / "probe.json"
    assert probe("--data", path, "--probe", "ridge", "--out", str(out))[0] == 0
    assert json.loads(out.read_text())["videos"] == len(rows)


METADATA = {
    "index": (lambda i: i, "each of 32 videos has a value of its own"),
    "caption": (lambda i: f"clip number {i}, filmed outdoors", "each of 32 videos has a value of its own"),
    "duration": (lambda i: (3.5, 4.25)[i % 2], "numbers with a fraction, such as 3.5"),
    "day": (lambda i: f"2024-05-0{1 + i % 3}", "dates or times, such as 2024-05-01"),
    "camera": (lambda i: "same", "all videos have the same label"),
    "nothing": (lambda i: " ", "no video has this label"),
    "actor": (
        lambda i: "new" if i == 20 else "ab"[i % 2],
        "new can only be found among the videos to test on",
    ),
}
"""Column that is no label to its value for the i-th video, and the reason."""


def test_columns_that_are_no_labels_are_left_out_and_named(probe, rows, tmp_path: Path) -> None:
    listed = [
        {
            "path": row["path"],
            "split": "train" if i < 16 else "test",
            **{name: value(i) for name, (value, _) in METADATA.items()},
            "shape": row["shape"],
        }
        for i, row in enumerate(rows)
    ]
    data, out = write_list(tmp_path / "list.csv", listed), tmp_path / "probe.json"
    code, text, _ = probe("--data", data, "--probe", "ridge", "--out", str(out))
    assert code == 0
    assert "--labels names the columns to probe" in text
    found = {row["semantic"]: row for row in json.loads(out.read_text())["rows"]}
    assert found.keys() == {"shape", *METADATA}
    assert found["shape"]["skipped"] is None
    for name, (_, reason) in METADATA.items():
        assert found[name]["skipped"].startswith(reason)
        assert re.search(rf"^  {name}: {reason}", text, re.MULTILINE)
    code, text, _ = probe("--data", data, "--probe", "ridge", "--labels", "day", "duration")
    assert code == 0  # unlikely, but asked for
    assert re.search(r"^ day +backbone", text, re.MULTILINE)
    assert "left out, because they do not look like labels" not in text
    for name in ("index", "camera", "actor"):
        code, _, error = probe("--data", data, "--labels", "shape", name)
        assert code == 2
        assert re.search(rf"--labels: {name}: .*there are: .*shape", error)


def test_classes_that_differ_in_spelling_only_are_pointed_out(probe, rows, tmp_path: Path) -> None:
    names = ["1", "1.0", "Walk", " walk"]
    data = write_list(
        tmp_path / "list.csv", [{"path": row["path"], "x": names[i % 4]} for i, row in enumerate(rows)]
    )
    code, text, _ = probe("--data", data, "--probe", "ridge")
    assert code == 0
    assert "note: label x: '1' and '1.0' are written alike, but count as 2 classes" in text
    assert "note: label x: 'Walk' and 'walk' are written alike" in text


def test_names_of_any_kind_can_be_printed_and_drawn(probe, rows, tmp_path: Path, monkeypatch) -> None:
    names = ["$a^$", "[red]x[/red]", "two\nlines, and a comma", "\u8df3\u7ef3" + "x" * 300]
    column = "cost $x$ of a very long name, with a comma"
    data = write_list(
        tmp_path / "list.csv", [{"path": row["path"], column: names[i % 4]} for i, row in enumerate(rows)]
    )
    for width, ending in (("40", "png"), ("100", "svg")):
        monkeypatch.setenv("COLUMNS", width)
        out, plot = tmp_path / "probe.json", tmp_path / f"probe.{ending}"
        code, text, _ = probe("--data", data, "--probe", "ridge", "--out", str(out), "--plot", str(plot))
        assert code == 0
        assert column in text
        assert plot.stat().st_size > 0
        assert set(json.loads(out.read_text())["per_class"][0]["classes"]) == set(names)


@pytest.mark.parametrize("width", ["80", "60", "40", "20", None])
def test_label_names_stay_whole_at_any_width(probe, monkeypatch, width: str | None) -> None:
    monkeypatch.delenv("COLUMNS", raising=False) if width is None else monkeypatch.setenv("COLUMNS", width)
    code, text, _ = probe("--probe", "ridge", "knn", "retrieval", "--streams", "--against", "untrained")
    assert code == 0
    assert "\u2026" not in text
    for name in (
        "background",
        "shape",
        "brightness",
        "trajectory",
        "backbone",
        "projector",
        "dynamic",
        "chance",
    ):
        assert re.search(rf"\b{name}\b", text), name


def test_the_data_of_a_run_is_found_from_another_folder(
    probe, rows, config: TrainConfig, tmp_path: Path, monkeypatch
) -> None:
    home, away, run = tmp_path / "home", tmp_path / "away", tmp_path / "home" / "run"
    for folder in (run / "checkpoint", away):
        folder.mkdir(parents=True)
    write_list(home / "list.csv", [{"path": row["path"], "shape": row["shape"]} for row in rows])
    monkeypatch.chdir(home)
    save_encoder(
        run, 1, dump_yaml(replace(config, data="list.csv")), config.model, build_encoder(config.model)
    )
    assert "where training ran" not in probe("--probe", "ridge", checkpoint=run)[1]
    monkeypatch.chdir(away)
    code, text, _ = probe("--probe", "ridge", checkpoint=run)
    assert code == 0
    assert f"data of the run: list.csv in {home}, where training ran (choose other data with --data)" in text
    (home / "list.csv").rename(home / "moved.csv")
    code, _, error = probe(checkpoint=run)
    assert code == 2
    for part in ("list.csv: no such file", str(away), str(home), str(run), "--data"):
        assert part in error
    assert probe("--data", str(home / "moved.csv"), "--probe", "ridge", checkpoint=run)[0] == 0


def test_a_checkpoint_that_does_not_say_where_it_ran_is_probed_as_before(
    probe, rows, config: TrainConfig, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_list(tmp_path / "list.csv", [{"path": row["path"], "shape": row["shape"]} for row in rows])
    file = save_state(tmp_path, replace(config, data="list.csv"), folder=None)
    assert probe("--probe", "ridge", checkpoint=file)[0] == 0
    (tmp_path / "list.csv").unlink()
    code, _, error = probe(checkpoint=file)
    assert code == 2
    assert re.search(
        r"list.csv: no such file .* configuration of \S+: give their new place with --data", error
    )


def save_state(folder: Path, config: TrainConfig, /, **changed: object) -> Path:
    """An encoder file with some entries changed, or removed where they are None."""
    (folder / "checkpoint").mkdir(exist_ok=True)
    state = torch.load(
        save_encoder(folder, 1, dump_yaml(config), config.model, build_encoder(config.model)),
        weights_only=True,
    )
    state = {name: value for name, value in {**state, **changed}.items() if value is not None}
    torch.save(state, folder / "changed.pt")
    return folder / "changed.pt"


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"format": 9}, "is a checkpoint of format 9, written by bodvcl .*; bodvcl .* reads format 1"),
        ({"encoder": None}, "is not a bodvcl checkpoint: it has no encoder"),
        ({"config": None, "version": None}, "is not a bodvcl checkpoint: it has no config and no version"),
        ({"config": ": : :\n - ]"}, "with options that bodvcl .* does not have"),
        ({"config": "future-option: 1"}, "with options that bodvcl .* does not have"),
        ({"model": {"backbone": "tiny", "future": 1}}, "does not fit the encoder of bodvcl"),
        ({"model": {"backbone": "tiny", "width": 8}}, "does not fit the encoder of bodvcl"),
    ],
)
def test_a_checkpoint_of_another_version_is_refused_in_one_line(
    probe, config: TrainConfig, tmp_path: Path, changed: dict, complaint: str
) -> None:
    code, _, error = probe(checkpoint=save_state(tmp_path, config, **changed))
    assert code == 2
    assert re.search(complaint, error), error


def test_a_folder_or_file_that_is_no_run_is_refused_in_one_line(probe, tmp_path: Path) -> None:
    code, _, error = probe(checkpoint=tmp_path)
    assert code == 2
    assert "no checkpoint at" in error
    (tmp_path / "checkpoint").mkdir()
    (tmp_path / "checkpoint" / "last.pt").touch()
    code, _, error = probe(checkpoint=tmp_path)
    assert code == 2
    assert f"bodvcl train --resume --run-dir {tmp_path}" in error
    code, _, error = probe(checkpoint=tmp_path / "checkpoint" / "last.pt")
    assert code == 2
    assert "it ends too early, or is empty" in error


def test_an_unwritable_cache_costs_only_time(probe, tmp_path: Path) -> None:
    (tmp_path / "cache").touch()
    code, text, _ = probe("--probe", "ridge", "--labels", "shape")
    assert code == 0
    assert "are not kept: cannot write to" in text
