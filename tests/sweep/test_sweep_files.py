"""Sweep files: what is read, and what is refused in one line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from sweeps import TINY, write_sweep

from bodvcl.cli.sweep import main
from bodvcl.errors import ConfigError
from bodvcl.sweep.file import read_sweep
from bodvcl.sweep.find import find_sweep, packaged
from bodvcl.sweep.names import of_its_rows

PAPER = {"source": "Table 1", "data": ["kinetics400"], "values": {"top-1": {0.1: 60.5}}}
DATA = ("kinetics400:/k", "ucf101:/u", "hmdb51:/h")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"seed": 3}, "seed: unknown field (did you mean seeds?)"),
        ({"small": {"sed": 3}}, "small.sed: unknown field (did you mean seeds?)"),
        ({"paper": {**PAPER, "sources": "x"}}, "paper.sources: unknown field (did you mean source?)"),
        ({"vary": {"koopman.xi": []}}, "vary.koopman.xi"),
        ({"vary": {"loss": {}}}, "vary.loss"),
        ({"vary": {"koopman.xy": [0.1, 0.2]}}, "unknown option --koopman.xy (did you mean --koopman.xi?)"),
        ({"vary": {"koopman.xi": [0.1, -1]}}, "koopman.xi"),
        ({"vary": {"loss": {"plain": "--decuple none"}}}, "plain: unknown option --decuple (did you mean"),
        ({"vary": {"loss": {"a": "--decouple 'none"}}}, "cannot be split into options: No closing quotation"),
        ({"vary": {"loss": {"a": "--epochs 1", "b": ""}}}, "'a' and 'b' are the same run: their options"),
        ({"vary": {"koopman.xi": [0.1, 0.1]}}, "koopman.xi: the label 0.1 is there twice"),
        (
            {"vary": {"loss": {"a b": "--decouple none", "a-b": "--decouple bod"}}},
            "'a b' and 'a-b' would have the same folder, a-b: rename one",
        ),
        ({"vary": {"loss": {"+": "--decouple none"}}}, "'+' cannot be the name of a folder"),
        ({"then": {"run": "probe --checkpoint {run}"}}, "'run' cannot be the name of a folder"),
        ({"then": {"z": "probe --checkpoint {run} --clips 3"}}, "then.z: unknown option --clips"),
        ({"then": {"z": "prob --checkpoint {run}"}}, "no verb 'prob' (did you mean probe?)"),
        ({"run": "  "}, "run: expected a verb with its options"),
        ({"run": f"train {TINY} --log.no-probe"}, "remove --log.no-probe"),
        ({"baseline": {"xi": 0.1}}, "baseline: no axis 'xi'; there are: koopman.xi"),
        ({"baseline": {"koopman.xi": 0.3}}, "baseline.koopman.xi: no label '0.3'; there are: 0.1, 0.2"),
        ({"columns": "xi"}, "columns: no axis 'xi'"),
        ({"seeds": 0}, "seeds"),
        ({"paper": {**PAPER, "values": {"top-1": {0.3: 60.5}}}}, "paper.values: no row '0.3'"),
        ({"vary": {"start": "--config {checkpoint}"}}, "give runs with --checkpoints"),
        ({"vary": {"start": "--config shapes"}}, "vary.start: expected a list of values"),
        ({"title": None}, "title"),
    ],
)
def test_a_mistake_is_one_line_before_anything_is_written(tmp_path, capsys, fields, message):
    path = write_sweep(tmp_path, **fields)
    assert main([str(path), "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("title: [", "is not valid YAML"),
        ("- a", "must hold `key: value` lines, found list"),
        ("title: a\ntitle: b", "the key 'title' is there twice"),
        ("title: a\nsmall: 3", "small: expected fields of the sweep, got 3"),
        ("title: a", "run"),
    ],
)
def test_a_file_that_is_no_sweep_is_refused(tmp_path, text, message):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"mine\.yaml") as error:
        read_sweep(path)
    assert message in str(error.value)


def test_what_the_small_size_says_replaces_what_the_file_says(tmp_path):
    small = {"run": "train --data digits", "then": {}, "vary": {"epochs": [1, 2]}}
    path = write_sweep(tmp_path, then={"z": "probe --checkpoint {run}"}, seeds=4, small=small)
    large, little = read_sweep(path), read_sweep(path, small=True)
    assert (large.run, list(large.then), large.seeds) == (f"train {TINY}", ["z"], 4)
    assert (little.run, little.then, little.seeds) == ("train --data digits", {}, 4)
    assert little.vary == {"epochs": (1, 2)}
    path = write_sweep(tmp_path)
    with pytest.raises(ConfigError, match="has no `small` size"):
        read_sweep(path, small=True)


def test_numbers_of_the_paper_go_with_their_rows(tmp_path):
    """YAML reads 0.1 as a number; the small size may have other rows."""
    values = {"top-1": {0.1: 60.5, 0.2: 61.0}, "mAP": {0.2: 17.6}}
    path = write_sweep(
        tmp_path, paper={**PAPER, "values": values}, small={"vary": {"koopman.xi": [0.1, 0.5]}}
    )
    assert read_sweep(path).paper.values == {"top-1": {"0.1": 60.5, "0.2": 61.0}, "mAP": {"0.2": 17.6}}
    assert of_its_rows(read_sweep(path, small=True)).paper.values == {"top-1": {"0.1": 60.5}}


def test_a_name_that_there_is_not_suggests_one():
    with pytest.raises(ConfigError, match=r"no sweep named 'solver' \(did you mean solvers\?\)"):
        find_sweep("solver")
    assert find_sweep("nu") == find_sweep("ablations/nu") == find_sweep("ablations/nu.yaml")
    assert find_sweep("mine.yaml") == Path("mine.yaml")


ABLATIONS = [name for name in packaged() if name.startswith("ablations")]
MANY = ("epochs", "levels", "prediction_loss", "strict")
"""Files whose paper size has many rows, each of which is parsed."""


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.slow if n.endswith(MANY) else ()) for n in ABLATIONS],
)
def test_every_ablation_is_a_plan_in_the_size_of_the_paper(tmp_path, capsys, name):
    data = DATA if "ucf101" in find_sweep(name).read_text() else DATA[:1]
    assert main([name, "--dry-run", "--out", str(tmp_path / "out"), "--data", *data]) == 0
    out = capsys.readouterr().out
    sweep = read_sweep(find_sweep(name))
    assert sweep.paper is not None
    assert "left out" not in out
    trainings = re.findall("bodvcl train .*", out)
    assert len(trainings) == int(re.search(r"(\d+) runs?$", out.strip())[1])
    assert all("--data kinetics400:/k" in line for line in trainings)
    assert all("slow_r50_8x8_rho2" in line for line in trainings)
    evaluations = re.findall("bodvcl finetune .*", out)
    assert len(evaluations) == len(trainings) * len(sweep.then)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ABLATIONS)
def test_every_ablation_is_a_plan_in_its_small_size(tmp_path, capsys, name):
    assert main([name, "--small", "--dry-run", "--out", str(tmp_path / "out")]) == 0
    out = capsys.readouterr().out
    trainings = re.findall("bodvcl train .*", out)
    assert len(trainings) == int(re.search(r"(\d+) runs?$", out.strip())[1]) >= 9
    assert all("--data scenes" in line and "--config" not in line for line in trainings)
    assert "bodvcl finetune" not in out
    assert read_sweep(find_sweep(name), small=True).show
    assert not (tmp_path / "out").exists()


def test_the_list_has_every_file_with_its_title(capsys):
    assert main(["--list"]) == 0
    out = capsys.readouterr().out
    for name, path in packaged().items():
        assert f"{name} " in out
        assert yaml.safe_load(path.read_text())["title"] in out


def test_every_sweep_file_is_in_the_wheel():
    """The patterns of pyproject.toml cover every folder of sweep files."""
    root = Path(__file__).parents[2]
    declared = (root / "pyproject.toml").read_text()
    for path in (root / "configs").rglob("*.yaml"):
        pattern = str(path.relative_to(root / "configs").with_name("*.yaml"))
        assert f'"{pattern}"' in declared, path


def test_the_file_in_the_documentation_is_a_plan_in_both_sizes(tmp_path, capsys):
    root = Path(__file__).parents[2]
    (text,) = re.findall(r"```yaml\n(.*?)```", (root / "docs" / "sweeps.md").read_text(), re.DOTALL)
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    words = [str(path), "--dry-run", "--out", str(tmp_path / "out")]
    assert main([*words, "--data", "kinetics400:/k"]) == 0
    assert "24 runs" in capsys.readouterr().out
    assert main([*words, "--small"]) == 0
    assert "bodvcl finetune" not in capsys.readouterr().out


def test_the_documentation_has_every_file():
    text = (Path(__file__).parents[2] / "docs" / "sweeps.md").read_text()
    assert set(re.findall(r"^\| `(\w+/\w+)` \|", text, re.MULTILINE)) == set(packaged())
