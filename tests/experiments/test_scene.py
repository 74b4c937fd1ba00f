"""The experiment on scenes: what it trains, what it says, and that it can be continued."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from bodvcl.cli.run_videos import divided, scan_run
from bodvcl.compare.summary import Line
from bodvcl.compare.variants import PLAIN
from bodvcl.config.parse import parse_config
from bodvcl.errors import ConfigError, DataError
from bodvcl.experiments import scene, supervised
from bodvcl.experiments.scene_plan import KNOB, OURS, SUPERVISED, VARIANTS, SceneOptions, plan_scene
from bodvcl.experiments.scene_report import knob_plot, verdict
from bodvcl.sweep import processes

TINY = (
    "--batch-size 4 --scenes.train-videos 8 --scenes.probe-videos 64 --scenes.frames 20 --scenes.size 32 "
    "--clip.size 16 --model.width 4 --model.embed-dim 12"
).split()


def line(variant, semantic, mean, data="scenes 1", features="z", gain=None, method="simclr", untrained=25.0):
    kind = "dynamic" if semantic == "trajectory" else "static"
    return Line(data, method, variant, semantic, kind, features, mean, 2.0, untrained, gain, 5.0, 5)


def test_every_training_is_valid_and_another_one(tmp_path):
    options = SceneOptions(out=tmp_path, seeds=2, scenes=(0.0, 0.25))
    tasks = list(plan_scene(options, ["--scenes.camera", "moving"]))
    assert len(tasks) == 2 * (len(VARIANTS) + 2 * len(KNOB))
    assert len({task.folder for task in tasks}) == len(tasks)
    configs = {task.folder: parse_config(task.arguments) for task in tasks}
    distinct = {repr(config) for config in configs.values()}
    assert len(distinct) == len(tasks) - 4, "but for the supervised ones"
    for task, config in zip(tasks, configs.values()):
        assert (config.data, config.scenes.camera, config.epochs) == ("scenes", "moving", 24)
        assert float(task.cell.data.split()[1]) == config.scenes.scene
        assert ("mix" in task.cell.variant) == (config.augment.mix > 0)
        assert (task.cell.variant in (OURS, "std", "parts, mix")) == (config.koopman.dynamic == "std")
        assert (task.module == "bodvcl.experiments.supervised") == (task.cell.variant in SUPERVISED)
    assert [task.seed for task in tasks] == sorted(task.seed for task in tasks)
    with pytest.raises(ConfigError, match=r"--variants 'ours': expected some of 'plain'"):
        list(plan_scene(replace(options, variants=("ours",))))


def test_the_verdict_tells_suppressed_from_too_hard():
    suppressed = [
        line(PLAIN, "trajectory", 24.0),
        line(PLAIN, "trajectory", 78.0, data="scenes 0"),
        line(SUPERVISED[0], "trajectory", 24.0),
        line(SUPERVISED[1], "trajectory", 97.0),
        line(OURS, "trajectory", 90.0, gain=66.0),
        line(OURS, "scene", 42.0, features="Z_M"),
    ]
    assert verdict(suppressed) == [
        "simclr, trajectory: the network can learn it: 97% with labels, 25% untrained",
        "simclr, trajectory: it is suppressed by the scene: the plain method learns 78% without a scene and "
        "24% with one",
        "simclr, trajectory: 'std, mix' learns 90%, +66 ± 5 points over the plain method",
        "simclr: the dynamic stream of 'std, mix' gives the scene away at 42%",
    ]
    hard = [
        line(PLAIN, "digit", 26.0),
        line(PLAIN, "digit", 28.0, data="scenes 0"),
        line(SUPERVISED[0], "digit", 27.0),
    ]
    assert verdict(hard) == [
        "simclr, digit: labels do not teach it in these steps: 27% with labels, 25% untrained",
        "simclr, digit: it is not suppressed by the scene: the plain method learns 28% without a scene and "
        "26% with one",
    ]
    assert verdict([]) == []


def test_the_curve_needs_two_shares(tmp_path):
    lines = [line(v, s, 50.0) for v in KNOB for s in ("digit", "trajectory")]
    assert not knob_plot(lines, tmp_path / "knob.png")
    lines += [line(v, s, 70.0, data="scenes 0.5") for v in KNOB for s in ("digit", "trajectory")]
    assert knob_plot(lines, tmp_path / "knob.png")
    assert (tmp_path / "knob.png").stat().st_size > 1000


def test_the_labels_are_learned(tmp_path):
    """The control must be able to fit: a few videos, many epochs."""
    words = "--data scenes --scenes.scene 0 --workers 0 --decode.keep 1 --epochs 30 --model.width 8".split()
    words += ["--scenes.cache", str(tmp_path), "--augment.crop-area", "0.9", "1", "--augment.mix", "0"]
    words = [*TINY, *words]
    config = parse_config(words)
    torch.manual_seed(0)
    videos = divided(scan_run(config), probed=False)
    assert supervised.label_numbers(videos.train)[0] == {"scene": 1, "digit": 4, "trajectory": 2}
    _, loss = supervised.train_supervised(config, videos)
    assert loss < 0.5 * (torch.log(torch.tensor(4.0)) + torch.log(torch.tensor(2.0))) / 3


def test_videos_without_labels_are_refused(tmp_path):
    config = parse_config([*TINY, "--data", "scenes", "--scenes.cache", str(tmp_path), "--workers", "0"])
    videos = divided(scan_run(config), probed=False)
    with pytest.raises(DataError, match="no labels to learn from"):
        supervised.label_numbers([replace(video, labels={}) for video in videos.train])


def test_mistakes_are_one_line(tmp_path, capsys):
    assert scene.main(["--variants"]) == 2
    assert supervised.main(["--data", "scenes"]) == 2
    assert "give the folder of the results with --run-dir" in capsys.readouterr().err
    assert supervised.main(["--run-dir", str(tmp_path), "--optim.name", "sgd"]) == 2
    assert "trained with adamw" in capsys.readouterr().err


@pytest.mark.slow
def test_the_command_trains_reports_and_repeats_nothing(tmp_path, capsys, monkeypatch):
    command = ["--out", str(tmp_path / "out"), "--seeds", "1", "--epochs", "1", "--scenes", "0"]
    command += ["--variants", PLAIN, OURS, SUPERVISED[1]]
    extra = ["--", *TINY, "--scenes.cache", str(tmp_path / "cache")]
    assert scene.main([*command, *extra]) == 0
    found = json.loads((tmp_path / "out" / "scene.json").read_text())["accuracy"]
    assert {(x["data"], x["variant"]) for x in found} == {
        ("scenes 1", PLAIN), ("scenes 1", OURS), ("scenes 1", SUPERVISED[1]), ("scenes 0", PLAIN),
        ("scenes 0", OURS),
    }  # fmt: skip
    assert (tmp_path / "out" / "scene_knob.png").stat().st_size > 1000
    out = capsys.readouterr().out
    assert "the network can learn it" in out or "labels do not teach it" in out
    monkeypatch.setattr(processes, "subprocess", None)
    assert scene.main([*command, *extra]) == 0
