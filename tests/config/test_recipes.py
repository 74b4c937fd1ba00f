"""Every recipe loads, and the rows of the paper's tables say what their names say."""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path

import pytest
import torch

from bodvcl.config.parse import find_recipe, load_yaml, parse_config
from bodvcl.models.encoder import build_encoder

NAMES = sorted(
    Path(r.name).stem for r in resources.files("bodvcl.configs").iterdir() if r.name.endswith(".yaml")
)
ROW = re.compile(
    r"k400_(?P<method>simclr|moco|byol|swav)_(?P<backbone>\w+)_(?P<frames>\d+)x(?P<stride>\d+)_rho(?P<views>\d)"
)
ROWS = [name for name in NAMES if ROW.fullmatch(name)]


@pytest.mark.parametrize("name", NAMES)
def test_it_loads(name):
    load_yaml(find_recipe(name))


def test_every_pre_training_row_of_the_paper_is_there():
    """Tables 3 to 7: (method, backbone, L x delta, rho)."""
    slow = [(m, "slow_r50", "8x8", 2) for m in ("simclr", "moco", "byol", "swav")]
    slow += [("moco", "slow_r50", "8x8", 4), ("byol", "slow_r50", "8x8", 4)]
    slow += [("moco", "slow_r50", "16x4", 2), ("byol", "slow_r50", "16x4", 4)]
    others = [("byol", b, "16x4", 4) for b in ("s3d_g", "r3d_18", "r2plus1d_18", "vit_b16")]
    assert set(ROWS) == {f"k400_{m}_{b}_{clip}_rho{rho}" for m, b, clip, rho in slow + others}


@pytest.mark.parametrize("name", ROWS)
def test_a_row_is_what_its_name_says(name):
    row, config = ROW.fullmatch(name), load_yaml(find_recipe(name))
    clip = config.clip
    assert (config.method, config.model.backbone) == (row["method"], row["backbone"])
    assert (clip.frames, clip.stride, clip.views) == tuple(int(row[k]) for k in ("frames", "stride", "views"))
    assert config.epochs == (800 if row["backbone"] == "vit_b16" else 200)
    assert clip.size == (112 if row["backbone"] in ("s3d_g", "r3d_18", "r2plus1d_18") else 224)
    assert (config.decouple, config.model.embed_dim, config.objective.tau) == ("bod", 128, 0.1)
    layers, hidden = (2, 4096) if row["method"] == "byol" else (3, 2048)
    assert (config.model.projector_layers, config.model.hidden_dim) == (layers, hidden)
    assert config.model.projector_norm == (row["method"] in ("byol", "swav"))
    assert config.optim.lr == (0.05 if row["method"] == "moco" else 0.6) * clip.views / 2
    assert (config.optim.name == "lars") == (row["method"] != "moco")
    koopman = config.koopman
    assert (koopman.mask, koopman.xi, koopman.weights, koopman.ridge) == ("hard", 0.1, "eigenvalue", 0)
    assert (config.prediction.mode, config.prediction.nu) == ("train", 1e-4)
    assert (config.bilevel.solver, config.bilevel.inner_steps) == ("fd_central", 1)


@pytest.mark.parametrize("name", [name for name in ROWS if name.endswith("slow_r50_8x8_rho2")])
@pytest.mark.parametrize("decouple", ["none", "pred"])
def test_a_row_has_its_baselines(name, decouple):
    config = parse_config(["--config", name, "--decouple", decouple])
    assert config.decouple == decouple


@pytest.mark.parametrize("name", ROWS)
def test_a_row_s_encoder_can_be_built_and_takes_its_clips(name):
    config = load_yaml(find_recipe(name))
    with torch.device("meta"):
        encoder = build_encoder(config.model)
        clips = torch.empty(2, 3, config.clip.frames, config.clip.size, config.clip.size)
    frames = config.clip.frames // (2 if config.model.backbone == "vit_b16" else 1)
    assert encoder(clips).shape == (2, frames, 128)


def test_our_own_split_goes_on_top_of_a_row(tmp_path):
    (tmp_path / "mine.yaml").write_text("base: [k400_byol_slow_r50_8x8_rho2, smooth]\n")
    config, row = load_yaml(tmp_path / "mine.yaml"), load_yaml(find_recipe("k400_byol_slow_r50_8x8_rho2"))
    default = load_yaml(find_recipe("shapes"))
    assert config.koopman == default.koopman
    assert config.prediction == default.prediction
    assert config.bilevel == default.bilevel
    assert (config.model, config.optim, config.clip) == (row.model, row.optim, row.clip)
