"""``bodvcl detect``: learned, resumed as uninterrupted, refused in one line."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from detect.tiny_ava import BEGINS, tiny_ava
from processes import finish, start

from bodvcl.cli.detect import main
from bodvcl.cli.main import main as bodvcl
from bodvcl.config.recipes import find_recipe, recipe_names
from bodvcl.detect.network import action_detector, open_start
from bodvcl.detect.options import KIND, DetectOptions, detect_contradictions
from bodvcl.detect.task import DetectionTask
from bodvcl.engine.checkpoint import LAST, load_encoder
from bodvcl.engine.metrics import METRICS
from bodvcl.finetune.parse import load_recipe
from bodvcl.finetune.rate import rate_at
from bodvcl.runs.results import read_result


def small(root: Path, *more: str) -> list[str]:
    return [
        *("--checkpoint", "scratch", "--width", "4", "--data", f"ava:{root}", "--begins", str(BEGINS)),
        *("--clip.frames", "4", "--clip.stride", "1", "--clip.fps", "10", "--clip.size", "32"),
        *("--clip.short-side", "36", "44", "--clip.test-side", "48", "--batch-size", "4", "--epochs", "2"),
        *("--optim.lr", "0.4", "--optim.lr-per", "None", "--log.every", "1", "--log.save-every", "4"),
        *("--workers", "0", "--device", "cpu", *more),
    ]


def said(capsys) -> str:
    """The only line of stderr that is a message."""
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("bodvcl detect: error")]
    assert len(lines) == 1
    return lines[0]


@pytest.fixture(scope="module")
def run(ava_folder, tmp_path_factory) -> Path:
    """A finished run on detections."""
    folder = tmp_path_factory.mktemp("detect") / "run"
    assert main(small(ava_folder, "--run-dir", str(folder))) == 0
    return folder


def test_a_run_leaves_its_results(run, ava_folder, capsys):
    result = read_result(run)
    assert (result.kind, result.data, result.checkpoint) == ("detect", f"ava:{ava_folder}", None)
    assert (result.train, result.test, result.backbone) == (16, 7, "tiny")
    assert next(iter(result.metrics)) == "mAP"
    assert result.protocol["boxes"] == "detections of 0.9 or more"
    assert result.protocol["key_frames_missing"] == 0
    lines = [json.loads(line) for line in (run / METRICS).read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, 9))
    assert "val_mAP" in lines[3]
    assert main(["--evaluate", str(run / "predictions.csv"), "--data", f"ava:{ava_folder}"]) == 0
    shown = capsys.readouterr().out
    assert f"{100 * result.metrics['mAP']:.2f}" in shown
    assert "jump/leap" in shown


def test_resumed_as_uninterrupted(run, ava_folder, tmp_path, monkeypatch, capsys):
    steps, loss = [], DetectionTask.loss

    def interrupted(self, batch):
        steps.append(len(steps))
        if len(steps) == 6:
            os.kill(os.getpid(), signal.SIGTERM)
        return loss(self, batch)

    monkeypatch.setattr(DetectionTask, "loss", interrupted)
    folder = tmp_path / "run"
    assert main(small(ava_folder, "--run-dir", str(folder))) == 128 + signal.SIGTERM
    assert f"bodvcl detect --resume --run-dir {folder}" in capsys.readouterr().out
    assert not (folder / "results.json").exists()
    assert main(["--resume", "--run-dir", str(folder)]) == 0
    assert len(steps) == 8
    one, two = (torch.load(place / LAST, weights_only=True) for place in (run, folder))
    assert one["step"] == two["step"] == 8
    assert all(torch.equal(value, two["learner"][name]) for name, value in one["learner"].items())
    assert (run / "predictions.csv").read_bytes() == (folder / "predictions.csv").read_bytes()
    assert read_result(run).metrics == read_result(folder).metrics


def test_a_folder_that_holds_a_run_is_refused(run, ava_folder, capsys):
    assert main(small(ava_folder, "--run-dir", str(run))) == 2
    assert "already holds a run" in said(capsys)


def test_another_seed_is_another_run(run, capsys):
    assert main(["--resume", "--run-dir", str(run), "--seed", "3"]) == 2
    assert "seed was 0, now 3" in said(capsys)


def test_extracted_frames_and_labelled_detections(ava_folder, tmp_path):
    """The frames of the films at 30 per second, from second 900 on; three times as many as the films have."""
    from PIL import Image

    from bodvcl.data.files.probing import probe_video
    from bodvcl.data.files.reading import read_frames

    root = tmp_path / "AVA"
    (root / "annotations").mkdir(parents=True)
    for path in (ava_folder / "annotations").iterdir():
        (root / "annotations" / path.name).write_text(path.read_text())
    for path in (ava_folder / "videos_15min").iterdir():
        info = probe_video(str(path))
        folder = root / "frames" / path.stem
        folder.mkdir(parents=True)
        images = read_frames(info, np.arange(info.frames)).repeat(3, 0)
        for number, image in enumerate(np.concatenate([images[:1]] * 30 + [images])):
            Image.fromarray(image).save(folder / f"{path.stem}_{number + 1:06d}.jpg", quality=90)
    labelled = tmp_path / "labelled.csv"
    train = (root / "annotations/ava_train_v2.2.csv").read_text().splitlines()
    labelled.write_text("".join(f"{line.rpartition(',')[0]},0.95\n" for line in train))
    more = [
        "--extracted",
        "--train-boxes",
        str(labelled),
        "--epochs",
        "1",
        "--run-dir",
        str(tmp_path / "run"),
    ]
    options = small(root, *more, "--pictures", "2")
    place = options.index("--begins")
    assert main(options[:place] + options[place + 2 :]) == 0
    assert read_result(tmp_path / "run").protocol["train_boxes"] == "ground truth and detections"
    assert (tmp_path / "run" / "pictures.png").exists()


def test_a_checkpoint_gives_weights_clips_and_its_method(finished_run, ava_folder, tmp_path):
    """Frames and stride are those of the pre-training (8 and 2); the network begins with its weights."""
    encoder = load_encoder(finished_run)
    chosen = DetectOptions(checkpoint=str(finished_run), data=f"ava:{ava_folder}")
    start, shape = open_start(chosen)
    assert (shape.frames, shape.stride, shape.fps) == (8, 2, 30.0)
    weights = encoder.backbone.state_dict()
    network = action_detector(start, chosen, 80)
    assert all(torch.equal(value, weights[name]) for name, value in network.backbone.state_dict().items())
    options = small(ava_folder, "--epochs", "1", "--optim.lr", "1e-9", "--run-dir", str(tmp_path / "run"))
    del options[2:4]  # the width
    options[1] = str(finished_run)
    assert main(options) == 0
    result = read_result(tmp_path / "run")
    assert (result.checkpoint, result.method) == (str(finished_run), "V-SimCLR + BOD-VCL")
    trained = torch.load(tmp_path / "run" / LAST, weights_only=True)["learner"]
    for name, value in encoder.backbone.named_parameters():
        torch.testing.assert_close(trained[f"backbone.{name}"], value.detach(), rtol=0, atol=1e-6)


def test_a_dry_run_writes_nothing(ava_folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert bodvcl(["detect", *small(ava_folder, "--dry-run")]) == 0
    shown = capsys.readouterr().out
    assert "train: 16 key frames, 32 people" in shown
    assert "test: 7 key frames, 14 people" in shown
    assert "3 of 80 actions count" in shown
    assert "one cell of the feature map is 8 pixels wide, last stage with stride 1" in shown
    assert list(tmp_path.iterdir()) == []


def changed(name: str, text: str) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        (root / "annotations" / name).write_text(text)

    return change


VAL, FOUND = "ava_val_v2.2.csv", "ava_val_predicted_boxes.csv"
BAD: dict[str, tuple[Callable[[Path], None] | None, list[str], str]] = {
    "a box outside": (
        changed(VAL, "val-film_00,0902,0.1,0.1,1.5,0.5,12,0\n"), [], "ava_val_v2.2.csv: cannot understand",
    ),
    "a detection outside": (
        changed(FOUND, "val-film_00,0902,0.5,0.1,0.4,0.5,,0.99\n"), [], "boxes.csv: line 1: the box",
    ),
    "an unknown action": (changed(VAL, "val-film_00,0902,0.1,0.1,0.5,0.5,33,0\n"), [], "of the label map"),
    "an empty list": (changed("ava_train_v2.2.csv", ""), [], "the split train holds no key frame"),
    "no detections": (changed(FOUND, ""), [], "predicted_boxes.csv: the file is empty"),
    "another split": (
        changed(FOUND, "train-film_00,0902,0.1,0.1,0.4,0.5,,0.99\n"), [], "are of another split",
    ),
    "no detection is sure": (None, ["--threshold", "0.97"], "no detection has a score of 0.97 or more"),
    "outside of the film": (None, ["--begins", "0"], "is outside of the file"),
    "all films are missing": (
        changed(VAL, "gone,0902,0.1,0.1,0.5,0.5,12,0\n"), ["--boxes", "ground-truth"],
        "none of the 1 film with key frames for the test exists",
    ),
    "a backbone that cannot dilate": (None, ["--backbone", "s3d"], "last stage of s3d cannot have stride 1"),
    "patches": (
        None, ["--backbone", "vit_b16", "--no-dilate", "--clip.size", "40", "--clip.short-side", "40", "44"],
        "expected a multiple of 16, got 40",
    ),
    "a file that is gone": (None, ["--boxes", "gone.csv"], "gone.csv: cannot be read: No such file"),
    "actions that no detection has": (None, ["--train-boxes", "{found}"], "no line has an action"),
    "too large a batch": (None, ["--batch-size", "64"], "there are only 16 key frames to train on"),
    "another data set": (None, ["--data", "ucf101:/x"], "expected ava:FOLDER"),
    "a crop larger than the frame": (None, ["--clip.size", "64"], "clip.short_side: expected two numbers"),
    "nothing to do": (None, ["--evaluate", "x.csv"], "give one of --checkpoint"),
    "a backbone of a checkpoint": (
        None, ["--checkpoint", "runs/x", "--backbone", "tiny"], "it is for --checkpoint scratch",
    ),
    "no checkpoint": (None, ["--checkpoint", "gone/run"], "gone/run"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line(name, ava_folder, tmp_path, monkeypatch, capsys):
    change, options, message = BAD[name]
    root = tmp_path / "AVA"
    (root / "annotations").mkdir(parents=True)
    for path in (ava_folder / "annotations").iterdir():
        (root / "annotations" / path.name).write_text(path.read_text())
    (root / "videos_15min").symlink_to(ava_folder / "videos_15min")
    if change is not None:
        change(root)
    monkeypatch.chdir(tmp_path)
    filled = [text.format(found=root / "annotations" / FOUND) for text in options]
    assert main(small(root, *filled)) == 2
    assert message in said(capsys)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("val-film_00,0902,0.1,0.1,0.4,0.5,77,0.9", "line 1: the action 77 is not in the label map"),
        ("val-film_00,0902,0.1,0.1,0.4,0.5,,0.9", "line 1: the action is missing"),
        ("train-film_00,0902,0.1,0.1,0.4,0.5,12,0.9", "no key frame in common"),
        ("val-film_00,0904,0.1,0.1,0.4,0.5,12,0.9", "no key frame in common"),  # it is excluded
    ],
)
def test_bad_predictions(line, message, ava_folder, tmp_path, capsys):
    path = tmp_path / "found.csv"
    path.write_text(line + "\n")
    assert main(["--evaluate", str(path), "--data", f"ava:{ava_folder}"]) == 2
    assert message in said(capsys)


def test_missing_films_are_counted_and_their_people_count_as_not_found(ava_folder, tmp_path, capsys):
    root = tmp_path / "AVA"
    (root / "videos_15min").mkdir(parents=True)
    (root / "annotations").symlink_to(ava_folder / "annotations")
    for path in sorted((ava_folder / "videos_15min").iterdir()):
        if path.stem != "val-film_01":
            (root / "videos_15min" / path.name).symlink_to(path)
    assert main(small(root, "--run-dir", str(tmp_path / "run"), "--epochs", "1")) == 0
    assert "test: 1 film with 4 key frames missing, for example val-film_01" in capsys.readouterr().out
    result = read_result(tmp_path / "run")
    assert (result.test, result.protocol["key_frames_missing"]) == (3, 4)
    assert result.metrics["mAP"] < 0.6  # more than half of the people are in the missing film


def test_the_recipe_of_ava():
    """SlowFast's schedule: rates at the epochs 0, 16, 24 and 28 after a warm-up of 5.3 epochs."""
    assert recipe_names(KIND) == ["ava"]
    options = load_recipe(DetectOptions, KIND, find_recipe("ava", KIND))
    rates = [rate_at(100 * epoch, 3200, 100, options.optim) for epoch in (0, 6, 15, 16, 24, 28, 31)]
    np.testing.assert_allclose(rates[1:], [0.3, 0.3, 0.03, 0.003, 0.0003, 0.0003], rtol=1e-6)
    assert rates[0] == pytest.approx(5e-4 + (0.3 - 5e-4) / 530)  # the first of 5.3 epochs of 100 steps
    options.checkpoint, options.data = "scratch", "ava:x"
    assert list(detect_contradictions(options)) == []
    assert (options.clip.size, options.clip.short_side, options.clip.test_side) == (224, (256, 320), 256)


@pytest.mark.slow
def test_actions_are_learned(tmp_path, capsys):
    """Action and motion are the same here, and three actions are equally frequent: chance is a third."""
    root = tiny_ava(tmp_path / "AVA", train=12, val=4, seed=3)
    options = [
        *small(root, "--boxes", "ground-truth", "--width", "16", "--clip.frames", "6", "--clip.size", "40"),
        *("--clip.short-side", "40", "52", "--batch-size", "8", "--epochs", "24", "--validate-every", "0"),
        *("--dropout", "0", "--optim.name", "adamw", "--optim.lr", "0.02", "--optim.lr-per", "None"),
        *("--run-dir", str(tmp_path / "run"), "--log.save-every", "1000"),
    ]
    assert main(options) == 0
    result = read_result(tmp_path / "run")
    assert result.metrics["mAP"] > 0.65
    losses = [json.loads(line)["loss"] for line in (tmp_path / "run" / METRICS).read_text().splitlines()]
    assert np.mean(losses[-9:]) < np.mean(losses[9:18]) / 2


@pytest.mark.slow
def test_two_processes_train_as_one_and_share_the_test(ava_folder, tmp_path):
    """The same batches; test_detect_task.py holds that the losses of both add up to that of one.

    The sums are rounded in another order. Where two cells of a box are equal, that decides which of them is
    the maximum and gets the gradient, so that the runs slowly part.
    """
    folders = [tmp_path / "one", tmp_path / "two"]
    more = ["--dropout", "0", "--precision", "fp32", "--run-dir"]
    options = [small(ava_folder, *more, str(folder)) for folder in folders]
    assert main(options[0]) == 0
    for code, _, err in finish(start(options[1], verb="detect")):
        assert code == 0, err
    assert read_result(folders[0]).test == read_result(folders[1]).test == 7
    one, two = ((place / "predictions.csv").read_text().splitlines() for place in folders)
    assert [line.rpartition(",")[0] for line in one] == [line.rpartition(",")[0] for line in two]
    scores = [np.array([float(line.rpartition(",")[2]) for line in lines]) for lines in (one, two)]
    np.testing.assert_allclose(scores[0], scores[1], rtol=0.02)
    losses = [
        [json.loads(line)["loss"] for line in (place / METRICS).read_text().splitlines()] for place in folders
    ]
    np.testing.assert_allclose(losses[0][:1], losses[1][:1], rtol=1e-5)
    np.testing.assert_allclose(losses[0], losses[1], rtol=0.1)
    assert losses[0][-1] < 0.7 * losses[0][0]
