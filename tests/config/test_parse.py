from __future__ import annotations

import pytest
import yaml

from bodvcl.config.command_line import option_names
from bodvcl.config.parse import dump_yaml, find_recipe, load_yaml, parse_config
from bodvcl.config.schema import TrainConfig
from bodvcl.errors import ConfigError


def test_every_field_is_an_option_and_the_promised_ones_exist():
    names = set(option_names(TrainConfig))
    promised = {
        "data",
        "run-dir",
        "resume",
        "max-steps",
        "seed",
        "method",
        "decouple",
        "config",
        "dry-run",
        "device",
    }
    assert promised <= names
    config = parse_config(
        ["--koopman.xi", "0.3", "--clip.frames", "16", "--no-fast", "--optim.clip-norm", "None"]
    )
    assert (config.koopman.xi, config.clip.frames, config.fast, config.optim.clip_norm) == (
        0.3,
        16,
        False,
        None,
    )


def test_help_explains_and_exits_with_0(capsys):
    with pytest.raises(SystemExit) as stop:
        parse_config(["--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert "koopman options" in text
    assert "--bilevel.gamma" in text


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--koopman.xl", "0.1"], r"unknown option --koopman.xl \(did you mean --koopman.xi\?\)"),
        (["--no-log.probe"], r"unknown option --no-log.probe \(did you mean --log.no-probe\?\)"),
        (["--lr", "1"], r"unknown option --lr \(did you mean --optim.lr\?\)"),
        (["--tau", "1"], r"unknown option --tau \(did you mean --dualvar.tau or --objective.tau\?\)"),
        (["--nonsense"], "unknown option --nonsense; see bodvcl train --help"),
        (["--koopman.xi", "3"], "koopman.xi: .*less than or equal to 1, got 3"),
        (["--koopman.xi", "0"], "koopman.xi: .*greater than 0"),
        (["--objective.tau", "-1"], "objective.tau: .*greater than 0"),
        (["--objective.tau", "11"], "objective.tau: .*less than or equal to 10"),
        (["--batch-size", "1"], "batch_size: .*needs other videos as negatives, got 1"),
        (["--batch-size", "many"], "--batch-size: not a whole number: 'many'"),
        (["--clip.fps", "fast"], "--clip.fps: cannot take 'fast'"),
        (["--decouple", "bodd"], "'bodd'.*--decouple.*'none', 'pred', 'bod'"),
        (["--koopman.smooth-power", "6"], "power of two, got 6"),
        (["--koopman.rank", "8"], "7 pairs, so rank is at most 7"),
        (["--clip.frames", "2"], "clip.frames: .*greater than or equal to 3: the Koopman operator"),
        (["--clip.views", "1"], "clip.views: .*no positive, got 1"),
        (["--augment.crop-area", "0.9", "0.5"], "augment.crop_area"),
        (["--model.embed-dim", "1"], "model.embed_dim: .*cannot be split .*, got 1"),
        (["--seed"], "--seed: its value is missing"),
        (["--config"], "--config: its value is missing"),
        (["stray"], "unexpected argument stray; see bodvcl train --help"),
        (["--config", "shaps"], r"no recipe named 'shaps' \(did you mean shapes\?\)"),
        (["--config", "/nowhere/x.yaml"], "cannot read /nowhere/x.yaml"),
    ],
)
def test_a_mistake_is_one_line_that_names_it(argv, message):
    with pytest.raises(ConfigError, match=message) as error:
        parse_config(argv)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("optm: {lr: 1}", r"unknown key optm \(did you mean optim\?\)"),
        ("optim: {lrr: 1}", r"unknown key optim.lrr \(did you mean lr\?\)"),
        ("optim: 3", "group of keys"),
        ("koopman: {xi: soft}", "koopman.xi.*'soft'"),
        ("- a", "must hold `key: value` lines"),
        ("a: [", "not valid YAML"),
    ],
)
def test_a_mistake_in_a_recipe_names_the_file(tmp_path, text, message):
    path = tmp_path / "r.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message) as error:
        parse_config(["--config", str(path)])
    assert str(path) in str(error.value)


def test_yaml_round_trip(tmp_path):
    config = parse_config(
        ["--run-dir", "somewhere", "--clip.fps", "12.5", "--augment.crop-area", "0.2", "0.7"]
    )
    (tmp_path / "c.yaml").write_text(dump_yaml(config))
    assert load_yaml(tmp_path / "c.yaml") == config
    assert yaml.safe_load(dump_yaml(TrainConfig()))["run_dir"] is None


def test_options_override_the_recipe(tmp_path):
    (tmp_path / "r.yaml").write_text("seed: 3\nbatch_size: 8\nkoopman: {xi: 0.2}\n")
    config = parse_config(["--config", str(tmp_path / "r.yaml"), "--seed", "4"])
    assert (config.seed, config.batch_size, config.koopman.xi, config.koopman.mask) == (4, 8, 0.2, "smooth")


def test_resume_starts_from_the_run_s_own_configuration(tmp_path):
    (tmp_path / "config.yaml").write_text(dump_yaml(TrainConfig(seed=5, batch_size=7)))
    config = parse_config(["--resume", "--run-dir", str(tmp_path), "--optim.lr", "0.5"])
    assert (config.seed, config.batch_size, config.optim.lr, config.resume) == (5, 7, 0.5, True)
    assert config.run_dir == tmp_path


def test_every_recipe_in_configs_is_valid():
    from importlib import resources

    names = [r.name for r in resources.files("bodvcl.configs").iterdir() if r.name.endswith(".yaml")]
    assert "shapes.yaml" in names
    for name in names:
        load_yaml(find_recipe(name.removesuffix(".yaml")))
