"""Runs of before, whose configuration lacks what did not exist then, mean what they meant."""

from __future__ import annotations

import pytest
import yaml

from bodvcl.config.parse import dump_yaml, find_recipe, load_yaml, parse_config
from bodvcl.config.saved import MEANT, as_meant
from bodvcl.config.schema import KoopmanConfig, ObjectiveConfig, TrainConfig
from bodvcl.config.streams import dynamic_stream, dynamic_weight, static_stream
from bodvcl.engine.checkpoint.same_run import compare_settings
from bodvcl.errors import ConfigError


def of_before() -> dict:
    """The defaults as an older release would have saved them."""
    values = yaml.safe_load(dump_yaml(TrainConfig()))
    for group, options in MEANT.items():
        for name in options:
            del values[group][name]
    del values["scenes"]
    return values


def test_a_saved_configuration_gets_what_the_run_did(tmp_path):
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(of_before()))
    config = load_yaml(tmp_path / "config.yaml")
    assert (config.koopman.dynamic, config.koopman.static) == ("mean", "part")
    assert config.objective.dynamic_weight == 1
    assert config.augment.mix == 0
    assert config.scenes == TrainConfig().scenes


@pytest.mark.parametrize("decouple", ["none", "pred", "bod"])
def test_every_older_run_can_be_read(tmp_path, decouple):
    values = of_before() | {"decouple": decouple}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(values))
    assert load_yaml(tmp_path / "config.yaml").decouple == decouple


def test_an_option_that_is_gone_is_left_out_and_reported_where_the_run_goes_on(tmp_path):
    values = yaml.safe_load(dump_yaml(TrainConfig()))
    del values["koopman"]["static"], values["objective"]["dynamic_weight"]
    values["augment"]["mix_gain"] = 0.5
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(values))
    config = load_yaml(tmp_path / "config.yaml")
    assert (config.koopman.static, config.objective.dynamic_weight) == ("part", 1)
    assert (
        "augment.mix_gain was 0.5, now None" in compare_settings(yaml.safe_dump(values), dump_yaml(config))[1]
    )
    (tmp_path / "mine.yaml").write_text("augment: {mix_gain: 0.5}\n")
    with pytest.raises(ConfigError, match=r"unknown key augment\.mix_gain"):
        load_yaml(tmp_path / "mine.yaml")


def test_what_is_in_it_stays():
    values = yaml.safe_load(dump_yaml(TrainConfig()))
    assert as_meant(values) == values


def test_a_recipe_keeps_the_defaults_of_today(tmp_path):
    (tmp_path / "mine.yaml").write_text("epochs: 3\n")
    assert load_yaml(tmp_path / "mine.yaml").augment == TrainConfig().augment


def test_an_older_run_can_be_continued_and_not_with_another_stream():
    saved = yaml.safe_dump(of_before())
    now = yaml.safe_load(dump_yaml(TrainConfig()))
    for group, options in MEANT.items():
        now[group].update(options)
    assert compare_settings(saved, yaml.safe_dump(now)) == ([], [])
    changed = compare_settings(saved, dump_yaml(TrainConfig()))[1]
    assert "koopman.dynamic was mean, now None" in changed


def test_the_paper_s_recipe_is_the_paper_s():
    for recipe in ("paper", "k400_simclr", "k400_byol_slow_r50_8x8_rho4"):
        config = load_yaml(find_recipe(recipe))
        assert config.koopman.dynamic == "mean", recipe
        assert static_stream(config.koopman) == "part", recipe
        assert dynamic_weight(config.objective, config.koopman) == 1, recipe
        assert config.augment.mix == 0, recipe


@pytest.mark.parametrize(
    "words",
    [
        ["--decouple", "none"],
        ["--decouple", "pred"],
        ["--method", "dualvar", "--decouple", "none", "--clip.views", "3", "--clip.twin"],
    ],
)
def test_options_of_streams_that_the_run_does_not_have_are_refused(words):
    for option, value in (
        ("koopman.dynamic", "std"),
        ("koopman.static", "mean"),
        ("objective.dynamic_weight", "0.5"),
    ):
        with pytest.raises(ConfigError, match=rf"{option} {value}: only --decouple bod has a static and a"):
            parse_config([*words, f"--{option.replace('_', '-')}", value])
    parse_config(words)


def test_what_none_means():
    koopman, objective = KoopmanConfig(), ObjectiveConfig()
    assert (dynamic_stream(koopman), static_stream(koopman)) == ("std", "mean")
    assert dynamic_weight(objective, koopman) == 0.3
    paper = KoopmanConfig(dynamic="mean")
    assert (static_stream(paper), dynamic_weight(objective, paper)) == ("part", 1)
    assert static_stream(KoopmanConfig(static="part")) == "part"
    assert dynamic_weight(ObjectiveConfig(dynamic_weight=2.0), paper) == 2
