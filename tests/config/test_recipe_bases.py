from __future__ import annotations

import pytest
import yaml

from bodvcl.config.parse import dump_yaml, load_yaml, parse_config
from bodvcl.errors import ConfigError


def write(folder, **recipes):
    for name, text in recipes.items():
        (folder / f"{name}.yaml").write_text(text)
    return folder


def test_a_recipe_changes_what_its_base_says(tmp_path):
    write(
        tmp_path,
        base="seed: 3\nkoopman: {xi: 0.2, ridge: 0}\noptim: {lr: 0.5}\n",
        child="base: base.yaml\nseed: 4\nkoopman: {xi: 0.3}\n",
    )
    config = load_yaml(tmp_path / "child.yaml")
    assert (config.seed, config.optim.lr) == (4, 0.5)
    assert (config.koopman.xi, config.koopman.ridge, config.koopman.mask) == (0.3, 0, "smooth")


def test_later_bases_win_and_bases_have_bases(tmp_path):
    write(
        tmp_path,
        root="seed: 1\nepochs: 2\nbatch_size: 3\n",
        left="base: root.yaml\nepochs: 20\n",
        right="base: root.yaml\nbatch_size: 30\n",
        child="base: [left.yaml, right.yaml]\n",
    )
    config = load_yaml(tmp_path / "child.yaml")
    assert (config.seed, config.epochs, config.batch_size) == (1, 2, 30)


def test_a_base_may_be_a_recipe_of_the_package_or_lie_beside_the_file(tmp_path):
    (tmp_path / "sub").mkdir()
    write(tmp_path, mine="seed: 9\n")
    write(tmp_path / "sub", child="base: [shapes, ../mine.yaml]\ndecouple: pred\n")
    config = parse_config(["--config", str(tmp_path / "sub" / "child.yaml")])
    assert (config.data, config.seed, config.decouple) == ("shapes", 9, "pred")


def test_what_is_written_needs_no_base(tmp_path):
    write(tmp_path, base="seed: 3\n", child="base: base.yaml\nepochs: 2\n")
    config = load_yaml(tmp_path / "child.yaml")
    assert "base" not in yaml.safe_load(dump_yaml(config))


def test_a_contradiction_between_base_and_recipe_is_found(tmp_path):
    write(
        tmp_path, base="model: {backbone: vit_b16}\n", child="base: base.yaml\nclip: {frames: 9, size: 64}\n"
    )
    with pytest.raises(ConfigError, match=r"child.yaml: clip.frames: vit_b16 makes one feature per 2 frames"):
        load_yaml(tmp_path / "child.yaml")


@pytest.mark.parametrize(
    ("recipes", "message"),
    [
        ({"child": "base: child.yaml\n"}, r"child.yaml is its own base: child.yaml -> child.yaml"),
        (
            {"child": "base: a.yaml\n", "a": "base: [b.yaml]\n", "b": "base: child.yaml\n"},
            r"is its own base: child.yaml -> a.yaml -> b.yaml -> child.yaml",
        ),
        ({"child": "base: shape\n"}, r"child.yaml: no recipe named 'shape' \(did you mean shapes\?\)"),
        ({"child": "base: none.yaml\n"}, r"cannot read .*none.yaml: No such file"),
        (
            {"child": "base: 3\n"},
            r"child.yaml: base: expected the name of a recipe or a list of names, got 3",
        ),
        ({"child": "base: a.yaml\n", "a": "sede: 3\n"}, r"a.yaml: unknown key sede \(did you mean seed\?\)"),
        ({"child": "base: a.yaml\nseed: x\n", "a": "seed: 3\n"}, r"child.yaml: seed: "),
    ],
)
def test_bases_that_cannot_be(tmp_path, recipes, message):
    write(tmp_path, **recipes)
    with pytest.raises(ConfigError, match=message) as error:
        load_yaml(tmp_path / "child.yaml")
    assert "\n" not in str(error.value)
