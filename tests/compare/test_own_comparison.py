"""``bodvcl compare`` on labelled videos of one's own: what is trained, what is said, what is refused."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest

from bodvcl.cli.main import main
from bodvcl.compare.own import OwnVideos, own_data
from bodvcl.compare.plan import CompareOptions, plan
from bodvcl.compare.report import report
from bodvcl.compare.summary import Cell, Line
from bodvcl.compare.variants import MIXED, MIXED_BOD, OWN, PLAIN
from bodvcl.compare.verdict import sentence, verdicts
from bodvcl.config.parse import load_yaml, parse_config
from bodvcl.config.schema import ShapesConfig
from bodvcl.data.made import shapes
from bodvcl.data.sets import open_dataset
from bodvcl.errors import ConfigError, DataError
from bodvcl.sweep import processes


@pytest.fixture(scope="module")
def by_class(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """48 videos in a folder for each of two classes."""
    root = tmp_path_factory.mktemp("labelled")
    made = ShapesConfig(cache=root / "cache", train_videos=16, probe_videos=32, frames=20, size=32)
    listed = open_dataset(shapes.prepare(made, workers=1, progress=False))
    for row in listed.rows:
        place = root / "mine" / row.labels["trajectory"]
        place.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(row.path, place / Path(row.path).name)
    return root / "mine"


# ------------------------------------------------------------------ the sentence


def line(semantic: str, gain: float, margin: float | None, tested: int | None = 200) -> Line:
    return Line("mine", "simclr", MIXED_BOD, semantic, "", "z", 50.0, 2.0, 20.0, gain, margin, 5, tested)


def test_the_sentence_says_what_the_intervals_show():
    told = sentence([line("gesture", 6.1, 4.1), line("scene", 0.5, 2.0)], "BOD-VCL", "plain")
    assert told == (
        "BOD-VCL reads `gesture` better than plain: +6.1 points, 95% interval +2.0 to +10.2; "
        "`scene`: no difference shown (+0.5 points, 95% interval -1.5 to +2.5)."
    )
    assert "`scene` worse than plain: -9.0 points, 95% interval -10.0 to -8.0." in sentence(
        [line("scene", -9, 1)], "BOD-VCL", "plain"
    )
    assert sentence([line("scene", 1, 1)], "BOD-VCL", "plain").startswith(
        "BOD-VCL and plain: `scene`: no diff"
    )


def test_it_does_not_say_more_than_there_is():
    few = sentence([line("gesture", 30, 1, tested=12)], "BOD-VCL", "plain")
    assert "too few videos to tell (tested on 12; 30 or more are needed)" in few
    assert "better" not in few
    alone = sentence([line("gesture", 30, None)], "BOD-VCL", "plain")
    assert "one seed cannot tell (+30.0 points)" in alone
    assert "better" not in alone


def rows(*values: float, tested: int = 100) -> list[list[dict]]:
    """One list for each seed."""
    common = {"semantic": "gesture", "kind": None, "features": "backbone", "untrained": 0.1, "test": tested}
    return [[common | {"pretrained": value}] for value in values]


def test_exchanged_scenes_are_told_from_decoupling():
    runs = {
        Cell("mine", "simclr", PLAIN): rows(0.12, 0.13, 0.12),
        Cell("mine", "simclr", MIXED): rows(0.33, 0.30, 0.35),
        Cell("mine", "simclr", MIXED_BOD): rows(0.34, 0.31, 0.33),
    }
    over_plain, over_mixed = verdicts(runs)
    assert (
        "mine, simclr: BOD-VCL with exchanged scenes reads `gesture` better than plain: +20.3" in over_plain
    )
    assert "and plain with exchanged scenes: `gesture`: no difference shown" in over_mixed
    assert verdicts({cell: found for cell, found in runs.items() if cell.variant != MIXED_BOD}) == []


# ------------------------------------------------------------------ what is trained


def test_every_variant_is_another_training_of_the_same_recipe(tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("base: videos\nfit: []\nepochs: 3\n")
    own = OwnVideos("class-folders:/data/mine", recipe)
    tasks = list(plan(CompareOptions(out=tmp_path, data=("/data/mine",), seeds=2), (), own))
    assert len(tasks) == 2 * len(OWN)
    assert {task.cell.data for task in tasks} == {"mine"}
    configs = [parse_config(task.arguments) for task in tasks]
    assert len({(c.decouple, c.augment.mix, c.seed) for c in configs}) == len(tasks)
    assert {c.epochs for c in configs} == {3}
    same = [dataclasses.replace(c, decouple="bod", seed=0, augment=configs[0].augment) for c in configs]
    assert all(c == same[0] for c in same), "the variants differ in nothing else"


def test_the_labels_are_found(by_class, tmp_path):
    assert own_data(["shapes", "digits"]) is None
    assert own_data([str(by_class)]) == f"class-folders:{by_class}"
    listed = tmp_path / "list.csv"
    listed.write_text("path,kind\na.mp4,x\n")
    (tmp_path / "a.mp4").write_text("")
    assert own_data([str(listed)]) == str(listed)
    with pytest.raises(ConfigError, match="compared alone"):
        own_data(["shapes", str(by_class)])


def test_data_without_labels_are_refused_in_one_line(by_class, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    alone = tmp_path / "flat"
    alone.mkdir()
    shutil.copyfile(next(by_class.rglob("*.mp4")), alone / "a.mp4")
    for data, why in ((str(alone), "no video has a label"), ("nowhere", "no such file or folder")):
        assert main(["compare", "--data", data, "--out", str(tmp_path / "out")]) == 2
        error = capsys.readouterr().err
        assert why in error
        assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()
    assert main(["compare", "--data", "scenes"]) == 2
    assert "of the built-in data there are here shapes, digits" in capsys.readouterr().err
    assert main(["compare", "--data", str(by_class), "--variants", "none"]) == 2
    assert "comparison has 'plain', '+ L_pred'" in capsys.readouterr().err


def test_the_recipe_of_other_data_is_not_taken(by_class, tmp_path, capsys):
    (tmp_path / "recipe.yaml").write_text("base: videos\nfit: []\ndata: other\n")
    assert main(["compare", "--data", str(by_class), "--out", str(tmp_path)]) == 2
    assert "recipe.yaml is of a comparison on other: give another --out" in capsys.readouterr().err


def test_a_probe_that_failed_is_not_called_unfinished(tmp_path):
    own = OwnVideos("mine", tmp_path / "recipe.yaml")
    tasks = list(plan(CompareOptions(out=tmp_path, seeds=1), (), own))
    for task in tasks[:2]:
        task.begin()
        task.run.mkdir()
        (task.run / "summary.json").write_text('{"steps": 5, "planned steps": 5}')
    with pytest.raises(DataError, match=r"no run could be probed: .*plain/0/log\.txt says why"):
        report(tasks, tmp_path, "comparison", 10.0)


@pytest.mark.slow
def test_the_whole_comparison_of_labelled_videos(by_class, tmp_path, capsys, monkeypatch):
    command = ["compare", "--data", str(by_class), "--out", str(tmp_path / "out"), "--seeds", "2"]
    command += ["--variants", PLAIN, MIXED_BOD, "--epochs", "1"]
    tiny = "--device cpu --clip.size 16 --model.width 4 --clip.frames 4 --batch-size 8 --model.embed-dim 12"
    assert main([*command, "--", *tiny.split()]) == 0
    out = capsys.readouterr().out
    assert "4 trainings: 2 variants x 2 seeds, 4 to do" in out
    assert "reads the labels label" in out
    recipe = load_yaml(tmp_path / "out" / "recipe.yaml")
    assert (recipe.fit, recipe.clip.size, recipe.batch_size, recipe.augment.blur) == ((), 16, 8, 0.3)
    text = (tmp_path / "out" / "comparison.md").read_text()
    assert "mine, simclr: BOD-VCL with exchanged scenes" in text
    assert "`label`" in text
    assert "None" not in text
    assert (tmp_path / "out" / "comparison.png").stat().st_size > 1000
    monkeypatch.setattr(processes, "subprocess", None)
    assert main([*command, "--", *tiny.split()]) == 0
    assert "all are finished" in capsys.readouterr().out
