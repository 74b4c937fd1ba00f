"""``bodvcl finetune`` from its options to what it leaves: results, classifier, splits, resumes, bad input."""

from __future__ import annotations

import csv
import json
import os
import signal

import layouts
import pytest
import torch
from csv_lists import write_list
from video_files import write_video

from bodvcl.cli.finetune import main
from bodvcl.cli.probe import main as probe_main
from bodvcl.cli.train import main as train_main
from bodvcl.engine.checkpoint import LAST, load_encoder
from bodvcl.engine.checkpoint.file import CLASSIFIER
from bodvcl.engine.metrics import METRICS
from bodvcl.errors import CheckpointError
from bodvcl.finetune.as_encoder import load_run_or_classifier
from bodvcl.finetune.classification import ClassificationTask
from bodvcl.finetune.saved import load_classifier
from bodvcl.runs.results import RESULTS, read_result


def complaint(capsys, *options):
    """The one line that a refused command prints."""
    capsys.readouterr()
    assert main([str(option) for option in options]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    errors = [line for line in said if "error" in line]
    assert len(errors) == 1, said
    assert errors[0].startswith("bodvcl finetune: error: ")
    return errors[0]


@pytest.fixture(scope="module")
def encoder_run(tiny, tmp_path_factory):
    """A short pre-training."""
    run = tmp_path_factory.mktemp("encoder") / "run"
    assert train_main([*tiny, "--run-dir", str(run), "--log.no-probe", "--log.no-report"]) == 0
    return run


@pytest.fixture(scope="module")
def tuned(small_scratch, shape_list, tmp_path_factory):
    """A finished run of the whole network."""
    run = tmp_path_factory.mktemp("tuned") / "run"
    assert main([*small_scratch, "--data", str(shape_list), "--run-dir", str(run)]) == 0
    return run


def test_what_a_run_leaves(tuned, shape_list):
    result = read_result(tuned)
    assert result.kind == "finetune"
    assert result.checkpoint is None
    assert (result.train, result.test, result.backbone) == (24, 16, "tiny")
    assert list(result.metrics) == ["top1", "mean_class"]
    assert result.protocol["test"] == "2 x 1 views of 16 pixels"
    assert result.protocol["tune"] == "all"
    assert result.seconds > 0
    with open(tuned / "predictions.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 16
    hits = [line["label"] == line["predicted"] for line in lines]
    assert sum(hits) / 16 == pytest.approx(result.metrics["top1"])
    assert all(0.5 <= float(line["probability"]) <= 1 for line in lines)
    with open(tuned / "confusion.csv", newline="") as file:
        head, *body = csv.reader(file)
    assert head[1:] == [row[0] for row in body] == ["circle", "triangle"]
    assert sum(int(cell) for row in body for cell in row[1:]) == 16
    assert (tuned / "confusion.png").read_bytes().startswith(b"\x89PNG")
    steps = [json.loads(line) for line in (tuned / METRICS).read_text().splitlines()]
    assert len(steps) == 12
    assert [line["step"] for line in steps if "val_top1" in line] == [6, 12]


def test_the_classifier_says_what_the_run_said(tuned):
    classifier = load_classifier(tuned)
    assert classifier.facts.classes == ("circle", "triangle")
    assert not classifier.training
    frames = torch.randint(0, 255, (2, 4, 30, 40, 3), dtype=torch.uint8)
    found = classifier(classifier.prepare(frames))
    assert found.shape == (2, 2)
    torch.testing.assert_close(found.sum(1), torch.ones(2))
    with pytest.raises(CheckpointError, match="holds no classifier"):
        load_classifier(tuned / LAST)
    for path in (tuned, tuned / CLASSIFIER):
        with pytest.raises(CheckpointError, match="holds a classifier of bodvcl finetune"):
            load_encoder(path)
    with pytest.raises(CheckpointError, match="no classifier in"):
        load_classifier(tuned / "checkpoint")


def test_linear_evaluation_leaves_the_backbone_bit_for_bit(encoder_run, small, shape_list, tmp_path, capsys):
    run = tmp_path / "linear"
    options = ["--checkpoint", str(encoder_run), *small, "--data", str(shape_list), "--tune", "head"]
    assert main([*options, "--run-dir", str(run)]) == 0
    assert "the linear layer trains: 0.00 of" in capsys.readouterr().out
    before, after = load_encoder(encoder_run).backbone, load_classifier(run).network.backbone
    for name, value in before.state_dict().items():
        assert torch.equal(after.state_dict()[name], value), name
    result = read_result(run)
    assert (result.kind, result.method) == ("linear", "V-SimCLR + BOD-VCL")
    assert result.checkpoint == str(encoder_run)
    updated = tmp_path / "updated"
    assert main([*options, "--run-dir", str(updated), "--frozen-norm", "updated"]) == 0
    moved = load_classifier(updated).network.backbone.state_dict()
    for name, value in before.state_dict().items():
        assert torch.equal(moved[name], value) is not (".running_" in name or "tracked" in name), name


def stop_at(monkeypatch, step):
    """Ask this process to end, in one of its steps."""
    loss, left = ClassificationTask.loss, [step]

    def stops(self, batch):
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGTERM)
        return loss(self, batch)

    monkeypatch.setattr(ClassificationTask, "loss", stops)


def test_resumed_as_uninterrupted(small_scratch, shape_list, tmp_path, monkeypatch, capsys):
    """With dropout, mixup and cutmix, whose draws depend on the step alone."""
    options = [
        *small_scratch,
        "--data",
        str(shape_list),
        "--mixup",
        "0.8",
        "--cutmix",
        "1",
        "--layer-decay",
        "0.7",
    ]
    assert main([*options, "--run-dir", str(tmp_path / "whole")]) == 0
    with monkeypatch.context() as patched:
        stop_at(patched, 8)
        assert main([*options, "--run-dir", str(tmp_path / "parts")]) == 128 + signal.SIGTERM
    said = capsys.readouterr().out
    assert "stopped at step 8 of 12" in said
    assert f"bodvcl finetune --resume --run-dir {tmp_path / 'parts'}" in said
    assert not (tmp_path / "parts" / RESULTS).exists()
    assert main(["--resume", "--run-dir", str(tmp_path / "parts")]) == 0
    assert "at step 8" in capsys.readouterr().out
    one, two = (
        torch.load(tmp_path / r / CLASSIFIER, weights_only=True)["network"] for r in ("whole", "parts")
    )
    for name, value in one.items():
        assert torch.equal(two[name], value), name
    assert read_result(tmp_path / "whole").metrics == read_result(tmp_path / "parts").metrics


def test_a_resumed_run_has_the_same_options_and_classes(tuned, small_scratch, shape_rows, tmp_path, capsys):
    said = complaint(capsys, "--resume", "--run-dir", tuned, "--tune", "head")
    assert "belongs to another configuration (tune was all, now head)" in said
    mine = write_list(tmp_path / "mine.csv", shape_rows)
    options = [*small_scratch, "--data", str(mine), "--run-dir", str(tmp_path / "run")]
    assert main(options) == 0
    write_list(
        mine, [row | {"shape": "square" if n % 5 == 0 else row["shape"]} for n, row in enumerate(shape_rows)]
    )
    said = complaint(capsys, "--resume", "--run-dir", tmp_path / "run")
    assert "the classes were 2, now 3, among them square" in said
    write_list(mine, shape_rows[4:])
    assert "was trained on other videos" in complaint(capsys, "--resume", "--run-dir", tmp_path / "run")


def test_a_classifier_is_a_start_and_gets_a_new_head(tuned, small, shape_rows, tmp_path, capsys):
    rows = [row | {"shape": f"{row['shape']} {n % 2}"} for n, row in enumerate(shape_rows)]
    other = write_list(tmp_path / "other.csv", rows)
    options = ["--checkpoint", str(tuned), *small, "--data", str(other), "--run-dir", str(tmp_path / "run")]
    assert main([*options, "--tune", "head"]) == 0
    assert "its head for 2 classes is replaced by a new one" in capsys.readouterr().out
    after = load_classifier(tmp_path / "run")
    assert after.facts.classes == ("circle 0", "circle 1", "triangle 0", "triangle 1")
    for name, value in load_classifier(tuned).network.backbone.state_dict().items():
        assert torch.equal(after.network.backbone.state_dict()[name], value)


def test_several_labels_of_a_video(small_scratch, shape_rows, tmp_path, capsys):
    rows = [
        row | {"shape": row["shape"] + (";first" if n % 3 == 0 else "")} for n, row in enumerate(shape_rows)
    ]
    data = write_list(tmp_path / "several.csv", rows)
    options = [*small_scratch, "--data", str(data), "--multi-label", "--mixup", "0.5"]
    assert main([*options, "--run-dir", str(tmp_path / "run")]) == 0
    assert "3 classes, several a video" in capsys.readouterr().out
    assert list(read_result(tmp_path / "run").metrics) == ["map"]
    assert not (tmp_path / "run" / "confusion.csv").exists()
    assert load_classifier(tmp_path / "run").facts.multi_label


@pytest.fixture(scope="module")
def mini_ucf101(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ucf101")
    return layouts.ucf101(folder / "data", write_video(folder / "one.mp4", frames=20))


def test_all_official_splits_and_their_mean(mini_ucf101, small_scratch, tmp_path, monkeypatch, capsys):
    data = f"ucf101@all:{mini_ucf101}"
    options = [*small_scratch, "--data", data, "--batch-size", "3", "--epochs", "2", "--hold-out", "0"]
    run = tmp_path / "run"
    with monkeypatch.context() as patched:
        stop_at(patched, 4)  # in the second split
        assert main([*options, "--run-dir", str(run)]) == 128 + signal.SIGTERM
    assert read_result(run / "split-1").data == f"ucf101@1:{mini_ucf101}"
    before = (run / "split-1" / RESULTS).stat().st_mtime_ns
    assert main(["--resume", "--run-dir", str(run)]) == 0
    assert (run / "split-1" / RESULTS).stat().st_mtime_ns == before
    folds = [read_result(run / f"split-{n}") for n in (1, 2, 3)]
    mean = read_result(run)
    assert mean.data == data
    assert mean.test == 9
    assert mean.metrics["top1"] == pytest.approx(sum(fold.metrics["top1"] for fold in folds) / 3)
    assert [mean.metrics[f"top1_split{n}"] for n in (1, 2, 3)] == [fold.metrics["top1"] for fold in folds]
    assert "3 splits" in capsys.readouterr().out
    assert load_classifier(run / "split-2").facts.classes == ("Hammering", "HammerThrow", "HandstandPushups")
    settings = (run / "config.yaml").read_bytes()
    said = complaint(capsys, "--resume", "--run-dir", run, "--optim.lr", "0.5")
    assert "split-1 has finished with other options (optim.lr" in said
    assert (run / "config.yaml").read_bytes() == settings


def test_a_dry_run_reads_lists_alone(mini_ucf101, small_scratch, shape_list, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    options = [*small_scratch, "--data", f"ucf101@all:{mini_ucf101}", "--batch-size", "3", "--dry-run"]
    assert main(options) == 0
    said = capsys.readouterr().out
    assert said.count("3 videos to train on, 0 to validate, 3 to test; none is opened") == 3
    assert "GFLOP for a training clip" in said
    assert not list(tmp_path.iterdir())
    assert main([*small_scratch, "--data", str(shape_list), "--dry-run"]) == 0
    assert "12 steps, 6 in an epoch" in capsys.readouterr().out


def test_recipes_are_listed(capsys):
    assert main(["--list-recipes"]) == 0
    assert "ucf101 " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--tune", "last-9"], "tiny has 4 parts: use last-1 to last-4"),
        (["--recipe", "ucf102"], "no recipe named 'ucf102' (did you mean ucf101?)"),
        (["--layer-decay", "0"], "--layer-decay: input should be greater than 0"),
        (["--layer-decay", "1.5"], "--layer-decay: input should be less than or equal to 1"),
        (["--multi-label", "--label-smoothing", "0.1"], "label_smoothing: with --multi-label"),
        (["--clip.frames", "30"], "(--clip.short repeat keeps it)"),
        (["--batch-size", "300"], "a batch of 300"),
        (["--keep", "best", "--validate-every", "0"], "keep best: without validation"),
        (["--label", "colour"], "--label colour: no such column"),
        (["--data", "nowhere.csv"], "no such file or folder"),
        (["--clip.size", "8"], "clip: "),
        (["--folds", "1"], "has no official splits"),
        (["--checkpoint", "nowhere"], "no checkpoint at nowhere"),
        (["--checkpoint", "nowhere", "--backbone", "tiny"], "a checkpoint has its own"),
        (["--test.crops", "2"], "2"),
        (["--clips-per-vidoe", "2"], "did you mean --clips-per-video?"),
    ],
)
def test_bad_options_are_one_line(options, said, small_scratch, shape_list, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    given = [*small_scratch, "--data", str(shape_list), "--run-dir", str(tmp_path / "run"), *options]
    assert said in complaint(capsys, *given)
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_what_is_missing_is_named(small, shape_list, capsys):
    assert "missing: --checkpoint" in complaint(capsys, *small, "--data", shape_list)
    assert "resume: give the folder" in complaint(capsys, "--resume")
    assert "missing: --data" in complaint(capsys, *small, "--checkpoint", "scratch")


def test_short_videos_can_be_kept_and_bad_ones_are_left_out(small_scratch, shape_rows, tmp_path, capsys):
    (tmp_path / "broken.mp4").write_bytes(b"nothing")
    short = write_video(tmp_path / "short.mp4", frames=3)
    rows = [
        *shape_rows,
        *({"path": str(p), "shape": "circle", "split": "test"} for p in (tmp_path / "broken.mp4", short)),
    ]
    data = write_list(tmp_path / "list.csv", rows)
    options = [*small_scratch, "--data", str(data), "--epochs", "1"]
    assert main([*options, "--run-dir", str(tmp_path / "refuse")]) == 0
    said = capsys.readouterr().out
    assert "broken.mp4" in said
    assert "short.mp4" in said
    assert read_result(tmp_path / "refuse").test == 16
    assert main([*options, "--run-dir", str(tmp_path / "repeat"), "--clip.short", "repeat"]) == 0
    assert read_result(tmp_path / "repeat").test == 17


def test_a_run_folder_is_not_taken_twice(tuned, small_scratch, shape_list, capsys):
    said = complaint(capsys, *small_scratch, "--data", shape_list, "--run-dir", tuned)
    assert "already holds a run: continue it with --resume" in said


def test_the_network_of_a_finetuning_can_be_probed(tuned, shape_list, tmp_path, monkeypatch):
    """As the row "supervised" of the paper's Tables 1 and 2; the features are those of the tuned backbone."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    out = tmp_path / "probe.json"
    options = ["--checkpoint", str(tuned), "--data", str(shape_list), "--control", "static", "--workers", "0"]
    assert probe_main([*options, "--probe", "ridge", "--against", "untrained", "--out", str(out)]) == 0
    assert {row["features"] for row in json.loads(out.read_text())["rows"]} == {"backbone", "backbone+std"}
    encoder, config = load_run_or_classifier(tuned)
    network = load_classifier(tuned).network
    clips = torch.rand(2, 3, 4, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(encoder.frames(clips), network.backbone(clips), rtol=0, atol=0)
    assert config.clip.frames == 4


def test_a_probe_of_a_finetuning_needs_data_and_has_no_streams(tuned, shape_list, capsys):
    assert probe_main(["--checkpoint", str(tuned)]) == 2
    assert f"--data: {tuned} was fine-tuned" in capsys.readouterr().err
    assert probe_main(["--checkpoint", str(tuned), "--data", str(shape_list), "--streams"]) == 2
    assert "has no projector" in capsys.readouterr().err
