"""The recipes of a fine-tuning say what their sources say."""

from __future__ import annotations

import math

import pytest

from bodvcl.config.recipes import find_recipe, recipe_names
from bodvcl.config.schema import ClipConfig
from bodvcl.errors import ConfigError
from bodvcl.finetune.labels import Labels
from bodvcl.finetune.loop_options import loop_contradictions
from bodvcl.finetune.options import FinetuneOptions
from bodvcl.finetune.parse import KIND, list_recipes, load_recipe, parse_options
from bodvcl.finetune.protocol import protocol
from bodvcl.finetune.rate import rate_at

NAMES = recipe_names(KIND)


def recipe(name):
    return load_recipe(FinetuneOptions, KIND, find_recipe(name, KIND))


@pytest.mark.parametrize("name", NAMES)
def test_every_recipe_is_valid_and_says_what_it_is(name):
    assert not list(loop_contradictions(recipe(name)))
    text = find_recipe(name, KIND).read_text()
    assert "Source:" in text or "Written for this project" in text


def test_the_list_has_a_line_for_each():
    assert [line.split()[0] for line in list_recipes()] == NAMES
    wanted = {"ucf101", "hmdb51", "ssv2", "gym99", "diving48", "k400_linear", "severe_ucf101", "shapes"}
    assert wanted <= {*NAMES}


def rates(name, batch=None, steps=100):
    """Learning rate after so many epochs, with 64 clips a step or the recipe's own number."""
    options = recipe(name)
    factor = 1.0 if options.optim.lr_per is None else (batch or options.batch_size) / options.optim.lr_per
    return lambda epoch: rate_at(round(epoch * steps), options.epochs * steps, steps, options.optim, factor)


def test_slowfast_on_ucf101():
    options, rate = recipe("ucf101"), rates("ucf101")
    assert (options.epochs, options.dropout, options.optim.weight_decay, options.tune) == (
        200,
        0.8,
        0.0,
        "all",
    )
    assert (rate(0), rate(100)) == pytest.approx((0.01, 0.005))
    assert rates("ucf101", batch=256)(0) == pytest.approx(0.04)
    assert recipe("hmdb51") == options


def test_slowfast_on_ssv2():
    options, rate = recipe("ssv2"), rates("ssv2", steps=1000)
    assert [rate(epoch) for epoch in (1, 13.99, 14, 17.99, 18, 21.9)] == pytest.approx(
        [0.12, 0.12, 0.012, 0.012, 0.0012, 0.0012]
    )
    assert rate(0) == pytest.approx(1e-4, rel=0.1 * 63)  # one of 190 steps above the start
    assert rate(0.095) == pytest.approx(0.06, rel=0.02)  # half of the warm-up of 0.19 epochs
    assert rate(0.191) == pytest.approx(0.12)
    assert (options.augment.flip, options.test.clips, options.test.crops) == (0.0, 1, 1)


def test_slowfast_linear_on_k400():
    options, rate = recipe("k400_linear"), rates("k400_linear")
    assert (options.tune, options.frozen_norm, options.epochs) == ("head", "updated", 60)
    assert (options.test.clips, options.test.crops, options.test.size) == (10, 3, 256)
    assert rate(30) == pytest.approx(0.25)
    assert rate(8) == pytest.approx(
        0.5 * (1 + math.cos(math.pi * 8 / 60)) / 2
    )  # the cosine began with the run
    assert rate(4) == pytest.approx(rate(8) / 2, rel=0.01)
    assert options.optim.weight_decay == options.dropout == 0


@pytest.mark.parametrize("name", ["severe_ucf101", "gym99", "diving48"])
def test_severe(name):
    options, rate = recipe(name), rates(name)
    assert [rate(epoch) for epoch in (0, 5.9, 6, 10, 14)] == pytest.approx([1e-4, 1e-4, 3e-5, 9e-6, 2.7e-6])
    assert (options.batch_size, options.clips_per_video, options.epochs) == (32, 10, 16)
    assert (options.clip.frames, options.clip.fps, options.clip.size) == (32, 16.0, 112)


def test_severe_on_ssv2():
    options, rate = recipe("severe_ssv2"), rates("severe_ssv2")
    assert (options.epochs, options.clips_per_video, options.augment.flip) == (22, 2, 0.0)
    assert [rate(epoch) for epoch in (11.9, 12, 17, 20)] == pytest.approx([1e-4, 3e-5, 9e-6, 2.7e-6])


def test_options_override_a_recipe(tmp_path):
    options = parse_options(["--checkpoint", "scratch", "--data", "d", "--recipe", "ucf101", "--epochs", "7"])
    assert (options.epochs, options.dropout, options.recipe) == (7, 0.8, "ucf101")
    mine = tmp_path / "mine.yaml"
    mine.write_text("base: ucf101\noptim: {lr: 0.3}\n")
    options = parse_options(["--checkpoint", "scratch", "--data", "d", "--recipe", str(mine)])
    assert (options.optim.lr, options.dropout) == (0.3, 0.8)
    mine.write_text("drop_out: 1\n")
    with pytest.raises(ConfigError, match=r"mine.yaml: unknown key drop_out \(did you mean dropout\?\)"):
        parse_options(["--checkpoint", "scratch", "--data", "d", "--recipe", str(mine)])


def test_results_with_other_augmentation_have_another_protocol() -> None:
    """So that a table does not take them for seeds of one run."""

    def facts(*options: str):
        chosen = parse_options(["--checkpoint", "scratch", "--data", "videos.csv", *options])
        return protocol(chosen, ClipConfig(), Labels("action", ("sit", "walk"), None))

    assert facts()["augment"] == ""
    assert facts("--augment.flip", "0", "--augment.mix", "1")["augment"] == "flip 0.0, mix 1.0"
    assert facts("--seed", "1") == facts()
