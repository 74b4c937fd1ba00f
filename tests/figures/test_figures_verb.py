"""`bodvcl figures` from the command line: every figure of two runs, and every kind of bad input."""

from __future__ import annotations

import base64
import csv
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from bodvcl.cli.main import main
from bodvcl.data.made.rendered import encode

ALWAYS = ["--device", "cpu", "--workers", "0", "--clips-per-video", "1", "--videos", "6"]


@pytest.fixture
def figures(tmp_path: Path, tmp_path_factory, capsys: pytest.CaptureFixture[str]):
    """Runs the verb; returns exit code, what it printed, its complaint, and the folder of the figures."""
    cache = tmp_path_factory.getbasetemp() / "features"

    def run(*arguments: object, out: Path = tmp_path / "out") -> tuple[int, str, str, Path]:
        code = main(["figures", *map(str, arguments), *ALWAYS, "--cache", str(cache), "--out", str(out)])
        captured = capsys.readouterr()
        complaints = [line for line in captured.err.splitlines() if line.startswith("bodvcl figures: error")]
        assert "Traceback" not in captured.err
        return code, captured.out, complaints[0] if complaints else "", out

    return run


def table(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


class Links(HTMLParser):
    """Collects what a browser would load, and ids."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.ids: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        for name, value in attributes:
            if name in ("src", "href", "data", "xlink:href"):
                self.links.append(value or "")
            if name == "id":
                self.ids.append(value or "")


def test_all_figures_of_two_runs(figures, kept_runs: list[Path]) -> None:
    code, text, _, out = figures(
        *kept_runs, "--names", "A & B", "C", "--labels", "background", "shape", "--cam-of", "match"
    )
    assert code == 0
    assert "left out" not in re.sub(r"left out: \d+ of train", "", text)
    page = (out / "figures.html").read_text()
    found = Links(page)
    assert all(link.startswith(("data:", "#")) for link in found.links)
    assert len(found.ids) == len(set(found.ids))
    assert {"runs", "cam", "distinctiveness", "eigenvalues", "epochs", "curves"} <= set(found.ids)
    for words in ("Fig. 8 of the paper", "Fig. 11", "Fig. 4a", "Fig. 9", "A &amp; B", "prefers-color-scheme"):
        assert words in page
    for words in ("--figures cam", "data: 2 clips of shapes", "commit: "):
        assert words in page
    names = {path.name for path in out.iterdir()}
    listed = {name for line in re.findall(r"files: ([^<]*)", page) for name in line.split(", ")}
    assert names == listed | {"figures.html"}
    for stem in ("distinctiveness-lag", "eigenvalues-2-C", "epochs-backbone-shape", "curves-loss_pred"):
        assert {f"{stem}.svg", f"{stem}.pdf"} <= names
    videos = [link for link in found.links if link.startswith("data:video/mp4;base64,")]
    on_disk = sorted(path.read_bytes() for path in out.glob("cam-*.mp4"))
    assert sorted(base64.b64decode(link.partition(",")[2]) for link in videos) == on_disk

    cam = table(out / "cam.csv")
    assert len(cam) == 2 * 2 * 8
    for start in range(0, len(cam), 8):
        total = sum(float(row["map_in_frame"]) for row in cam[start : start + 8])
        assert total == pytest.approx(1) or total == 0
    motion = table(out / "cam-motion.csv")
    assert [row["run"] for row in motion] == ["A & B", "C"]
    for row in motion:
        assert float(row["low"]) <= float(row["share"]) <= float(row["high"])
        assert float(row["more"]) == pytest.approx(float(row["share"]) - float(row["area"]))
    lags = [row for row in table(out / "distinctiveness.csv") if row["lag"] == "0"]
    assert [float(row["mean"]) for row in lags] == pytest.approx([1, 1], abs=1e-6)
    epochs = [row for row in table(out / "epochs.csv") if row["label"] == "background"]
    places = [("untrained", "0", "0.0"), ("epoch-0001.pt", "3", "1.0"), ("epoch-0002.pt", "6", "2.0")]
    assert [(row["checkpoint"], row["step"], row["epoch"]) for row in epochs] == 2 * places
    assert epochs[0]["accuracy"] == epochs[3]["accuracy"]  # the untrained network of both runs is the same
    assert {row["metric"] for row in table(out / "curves.csv")} >= {"loss_video", "loss_pred", "grad_norm"}


def test_the_last_epoch_is_what_the_probe_reads(figures, kept_runs: list[Path], tmp_path: Path) -> None:
    import json

    options = ["--labels", "background", "--features", "backbone", "dynamic"]
    code, _, _, out = figures(kept_runs[1], "--figures", "epochs", *options)
    assert code == 0
    code, text, _, _ = figures(kept_runs[1], "--figures", "epochs", *options)
    assert code == 0
    assert text.count("reused from") == 3  # no video is read again
    probe = ["probe", "--checkpoint", str(kept_runs[1]), "--streams", "--labels", "background"]
    same = ["--probe", "ridge", "--device", "cpu", "--workers", "0", "--clips-per-video", "1", "--no-cache"]
    assert main([*probe, *same, "--out", str(tmp_path / "probe.json")]) == 0
    wanted = {
        row["features"]: row["value"]
        for row in json.loads((tmp_path / "probe.json").read_text())["rows"]
        if row["metric"] == "top1"
    }
    last = [row for row in table(out / "epochs.csv") if row["checkpoint"] == "epoch-0002.pt"]
    assert {row["features"]: float(row["accuracy"]) for row in last} == {
        kind: wanted[kind] for kind in ("backbone", "dynamic")
    }


@pytest.mark.parametrize("of", ["class", "static", "dynamic"])
def test_every_question(figures, kept_runs: list[Path], of: str) -> None:
    named = ["--labels", "shape", "--cam-class", "circle"] if of == "class" else []
    code, _, complaint, out = figures(
        *kept_runs, "--figures", "cam", "--cam", 1, "--cam-of", of, "--cam-depth", 3, *named
    )
    assert (code, complaint) == (0, "")
    assert {(row["of"], row["depth"]) for row in table(out / "cam.csv")} == {(of, "3")}


@pytest.fixture(scope="session")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One second of a bright square that moves."""
    frames = np.full((20, 32, 48, 3), 40, np.uint8)
    for t in range(20):
        frames[t, 8:20, t : t + 12] = 220
    path = tmp_path_factory.mktemp("video") / "square.mp4"
    encode(path, frames)
    return path


def test_a_video_of_ones_own(figures, kept_runs: list[Path], video: Path) -> None:
    code, _, complaint, out = figures(*kept_runs, "--figures", "cam", "--cam", f"{video}@0.1")
    assert (code, complaint) == (0, "")
    assert {path.name for path in out.iterdir()} == {
        "cam-1-square.png", "cam-1-square.mp4", "cam.csv", "figures.html",
    }  # fmt: skip
    assert [row["frame"] for row in table(out / "cam.csv")] == 2 * [str(n) for n in range(2, 18, 2)]


def test_what_cannot_be_made_is_named_unless_it_was_asked_for(figures, kept_runs, finished_run: Path) -> None:
    code, text, _, out = figures(finished_run, "--figures", "curves")
    assert code == 0
    code, _, complaint, _ = figures(finished_run, kept_runs[0], "--figures", "curves", "epochs")
    assert code == 2
    assert "finished kept no checkpoint on the way" in complaint
    assert "--log.keep-every 1" in complaint
    code, text, _, out = figures(finished_run)
    assert code == 0
    assert "epochs is left out: finished kept no checkpoint" in text
    assert "epochs: finished kept no checkpoint" in (out / "figures.html").read_text()
    assert not list(out.glob("epochs*"))


def test_bad_input_is_one_line(figures, kept_runs: list[Path], video: Path, tmp_path: Path) -> None:
    run = kept_runs[1]
    broken, long = tmp_path / "broken.mp4", tmp_path / "long.mp4"
    broken.write_bytes(b"no video")
    encode(long, np.zeros((15, 32, 32, 3), np.uint8))
    file = tmp_path / "file"
    file.write_text("")
    unlabelled = tmp_path / "videos"
    unlabelled.mkdir()
    shutil.copy(video, unlabelled / "a.mp4")
    cam = [run, "--figures", "cam", "--cam"]
    for arguments, says in [
        ([], "missing: RUN"),
        ([tmp_path / "gone"], "gone is not a folder; expected the folder of a run"),
        ([tmp_path], "expected the folder of a run, or an encoder.pt"),
        ([run, "--names", "a", "b"], "--names: expected 1 names, one per run, got 2"),
        ([run, "--figures", "curves", "--cam", "2"], "apply only to the figure cam"),
        ([run, "--cam-class", "circle"], "--cam-class applies only to --cam-of class"),
        ([*cam, broken], "broken.mp4: not readable as a video"),
        ([*cam, tmp_path / "gone.mp4"], "gone.mp4: no such file"),
        ([*cam, video, "--clip.stride", "4"], "20 frames, a clip of 8 frames with stride 4 needs 29"),
        ([*cam, f"{video}@3"], "the last clip begins at 0.25 s"),
        ([*cam, long], "holds only one clip, and --cam-of match compares two"),
        ([run, "--cam-of", "class", "--labels", "shape", "--cam-class", "circel"], "did you mean circle?"),
        ([run, "--cam-of", "class", "--labels", "shap"], "no such column (did you mean shape?)"),
        ([run, "--figures", "epochs", "--data", unlabelled], "no video has a label"),
        ([run, "--clip.size", "8"], "clip.size"),
    ]:
        code, _, complaint, out = figures(*arguments)
        assert code == 2, arguments
        assert says in complaint, complaint
        assert not out.exists() or not list(out.iterdir()), arguments
    code, _, complaint, _ = figures(run, out=file)
    assert code == 2
    assert "choose another --out" in complaint


def test_runs_with_other_clips_or_data(figures, kept_runs, tiny: list[str], tmp_path: Path) -> None:
    from bodvcl.cli.train import main as train_main

    other = tmp_path / "other"
    quick = ["--epochs", "1", "--log.no-probe", "--log.no-report", "--run-dir", str(other)]
    changed = ["--clip.frames", "6", "--shapes.probe-videos", "17"]
    assert train_main([*tiny, *quick, *changed]) == 0
    code, _, complaint, _ = figures(kept_runs[0], other, "--figures", "cam")
    assert code == 2
    assert "plain has 8 frames of stride 2 and other has 6 frames of stride 2" in complaint
    code, _, complaint, _ = figures(kept_runs[0], other, "--figures", "distinctiveness")
    assert code == 2
    assert "plain was trained on shapes and other on shapes, or with other settings" in complaint
    listed = ["--data", str(next(Path(tiny[tiny.index("--shapes.cache") + 1]).glob("*/labels.csv")))]
    code, _, complaint, _ = figures(kept_runs[0], other, "--clip.frames", 6, *listed, "--figures", "cam")
    assert (code, complaint) == (0, "")
