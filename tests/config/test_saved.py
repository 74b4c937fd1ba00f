"""Runs of before, whose configuration lacks what did not exist then, mean what they meant."""

from __future__ import annotations

import pytest
import yaml

from bodvcl.config.parse import dump_yaml, find_recipe, load_yaml, parse_config
from bodvcl.config.saved import MEANT, as_meant
from bodvcl.config.schema import TrainConfig
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
    assert config.koopman.dynamic == "mean"
    assert (config.augment.mix, config.augment.mix_gain) == (0, 0)
    assert config.scenes == TrainConfig().scenes


def test_what_is_in_it_stays():
    values = yaml.safe_load(dump_yaml(TrainConfig()))
    assert as_meant(values) == values


def test_a_recipe_keeps_the_defaults_of_today(tmp_path):
    (tmp_path / "mine.yaml").write_text("epochs: 3\n")
    assert load_yaml(tmp_path / "mine.yaml").augment == TrainConfig().augment


def test_an_older_run_can_be_continued_and_not_with_another_stream():
    saved = yaml.safe_dump(of_before())
    now = yaml.safe_load(dump_yaml(TrainConfig()))
    now["koopman"]["dynamic"], now["augment"]["mix"], now["augment"]["mix_gain"] = "mean", 0.0, 0.0
    assert compare_settings(saved, yaml.safe_dump(now)) == ([], [])
    changed = compare_settings(saved, dump_yaml(TrainConfig()))[1]
    assert "koopman.dynamic was mean, now None" in changed


def test_the_paper_s_recipe_is_the_paper_s():
    for recipe in ("paper", "k400_simclr", "k400_byol_slow_r50_8x8_rho4"):
        config = load_yaml(find_recipe(recipe))
        assert config.koopman.dynamic == "mean", recipe
        assert config.augment.mix == 0, recipe


@pytest.mark.parametrize(
    "words",
    [
        ["--decouple", "none"],
        ["--decouple", "pred"],
        ["--method", "dualvar", "--decouple", "none", "--clip.views", "3", "--clip.twin"],
    ],
)
def test_a_deviation_over_time_without_a_dynamic_stream_is_refused(words):
    with pytest.raises(ConfigError, match=r"koopman.dynamic std: only --decouple bod has a dynamic stream"):
        parse_config([*words, "--koopman.dynamic", "std"])
    parse_config(words)
