"""Numbers that mean nothing are refused whatever the option, and ~ is the home folder in every path."""

from __future__ import annotations

import dataclasses
import math
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bodvcl.cli import report
from bodvcl.cli.main import main
from bodvcl.cli.probe import ProbeCommand
from bodvcl.compare.plan import CompareOptions
from bodvcl.config.command_line import parse
from bodvcl.config.parse import find_recipe, load_yaml, parse_config, validate
from bodvcl.config.schema import TrainConfig
from bodvcl.errors import ConfigError
from bodvcl.experiments import synthetic


def options(cls: type, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Name and type of every option."""
    for name, kind in typing.get_type_hints(cls).items():
        if dataclasses.is_dataclass(kind):
            yield from options(kind, f"{prefix}{name}.")
        elif not name.startswith("__"):
            yield prefix + name, kind


def takes(kind: Any, wanted: type) -> bool:
    return kind is wanted or any(takes(part, wanted) for part in typing.get_args(kind))


def names(wanted: type) -> list[str]:
    return [name for name, kind in options(TrainConfig) if takes(kind, wanted)]


def with_value(name: str, value: Any) -> dict[str, Any]:
    """All defaults but this one."""
    values = dataclasses.asdict(TrainConfig())
    group = values
    *groups, last = name.split(".")
    for part in groups:
        group = group[part]
    group[last] = (value, value) if isinstance(group[last], tuple) else value
    return values


def test_the_lists_below_are_not_empty():
    assert {"augment.std", "clip.fps", "augment.crop_area", "optim.lr", "decode.keep"} <= set(names(float))
    assert {"seed", "shapes.seed", "batch_size", "workers", "epochs"} <= set(names(int))
    assert set(names(Path)) == {"run_dir", "shapes.cache", "digits.cache", "scenes.cache"}


@pytest.mark.parametrize("name", names(float))
@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan, 1e300, -1e300])
def test_a_number_without_meaning_is_refused(name, value):
    with pytest.raises(ConfigError, match=name.replace(".", r"\.")):
        validate(with_value(name, value))


@pytest.mark.parametrize("name", names(int))
@pytest.mark.parametrize("value", [10**30, -(10**30), 2**63])
def test_an_absurd_count_is_refused(name, value):
    with pytest.raises(ConfigError, match=name.replace(".", r"\.")):
        validate(with_value(name, value))


@pytest.mark.parametrize("name", [name for name in names(int) if name.endswith("seed")])
def test_seeds_have_63_bits(name):
    validate(with_value(name, 2**63 - 1))
    for value in (-1, 2**63):
        with pytest.raises(ConfigError, match=name):
            validate(with_value(name, value))


@pytest.mark.parametrize(
    "argv",
    [
        ["train", "--augment.std", "inf"],
        ["train", "--seed", "-1"],
        ["probe", "--checkpoint", "x", "--temperature", "inf"],
        ["probe", "--checkpoint", "x", "--seed", str(2**63)],
        ["probe", "--checkpoint", "x", "--workers", str(10**9)],
        ["probe", "--checkpoint", "x", "--clip.fps", "nan"],
        ["data", "show", "shapes", "--clip.fps", "inf"],
        ["data", "show", "shapes", "--epoch", str(10**30)],
    ],
    ids=" ".join,
)
def test_every_verb_refuses_them_in_one_line(argv, capsys):
    assert main(argv) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "error: " in said


def test_experiments_refuse_them_too():
    with pytest.raises(ConfigError, match="minutes: input should be a finite number"):
        parse(CompareOptions, ["--minutes", "inf"], prog="experiment")


# ------------------------------------------------------------------ ~


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("name", names(Path))
@pytest.mark.parametrize("given", ["~/q", "~"])
def test_every_path_of_the_configuration_knows_home(name, given, home, tmp_path):
    option = "--" + name.replace("_", "-")
    recipe = tmp_path / "recipe.yaml"
    group, _, last = name.rpartition(".")
    line = f"{last}: '{given}'\n"
    recipe.write_text(f"{group}:\n  {line}" if group else line, encoding="utf-8")
    for config in (parse_config([f"{option}={given}"]), load_yaml(recipe)):
        value: Any = config
        for part in name.split("."):
            value = getattr(value, part)
        assert value == home / given[2:]


def test_a_recipe_in_the_home_folder_is_found(home):
    (home / "mine.yaml").write_text("epochs: 3\n", encoding="utf-8")
    assert find_recipe("~/mine.yaml") == home / "mine.yaml"
    assert parse_config(["--config=~/mine.yaml"]).epochs == 3


def test_a_run_in_the_home_folder_is_continued(home):
    (home / "q").mkdir()
    (home / "q" / "config.yaml").write_text("epochs: 7\n", encoding="utf-8")
    assert parse_config(["--resume", "--run-dir=~/q"]).epochs == 7


def test_paths_of_the_probe_know_home(home):
    paths = {"checkpoint": "run", "out": "o.json", "plot": "p.png", "cache": "c", "against": "other"}
    given = parse(ProbeCommand, [f"--{name}=~/{file}" for name, file in paths.items()], prog="bodvcl probe")
    for name, file in paths.items():
        assert str(getattr(given, name)) == str(home / file)
    options = ["--checkpoint", "x", "--against", "untrained"]
    assert parse(ProbeCommand, options, prog="bodvcl probe").against == "untrained"


def test_other_verbs_know_home(home, capsys):
    assert report.main(["~/nothing"]) == 2
    assert f"{home / 'nothing'} is not a folder" in capsys.readouterr().err
    assert parse(CompareOptions, ["--out=~/c"], prog="experiment").out == home / "c"
    assert parse(synthetic.SyntheticOptions, ["--out=~/s"], prog="experiment").out == home / "s"
