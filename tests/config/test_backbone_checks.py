"""What a backbone asks of clips and of the other options."""

from __future__ import annotations

from typing import get_args, get_type_hints

import pytest

from bodvcl.config.backbones import GEOMETRY
from bodvcl.config.checks import model_contradictions
from bodvcl.config.parse import parse_config
from bodvcl.config.schema import ClipConfig, KoopmanConfig, ModelConfig, TrainConfig
from bodvcl.errors import ConfigError


def problems(decouple="bod", clip=None, koopman=None, **model):
    config = TrainConfig(
        decouple=decouple,
        clip=ClipConfig(**({"size": 64} | (clip or {}))),
        koopman=KoopmanConfig(**(koopman or {})),
        model=ModelConfig(**model),
    )
    return list(model_contradictions(config))


def test_every_backbone_of_the_configuration_has_a_geometry():
    assert set(get_args(get_type_hints(ModelConfig)["backbone"])) == set(GEOMETRY)


@pytest.mark.parametrize("name", GEOMETRY)
def test_every_backbone_takes_an_ordinary_clip(name):
    assert problems(backbone=name) == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"backbone": "vit_b16", "clip": {"frames": 9}},
            "clip.frames: vit_b16 makes one feature per 2 frames",
        ),
        ({"backbone": "vit_b16", "clip": {"frames": 4}}, "use 6 frames or more, or --decouple none"),
        ({"backbone": "vit_b16", "clip": {"size": 72}}, "clip.size: vit_b16 cuts clips into patches of 16"),
        ({"backbone": "slow_r50", "clip": {"size": 24}}, "clip.size: slow_r50 needs clips of 32 pixels"),
        ({"backbone": "vit_b16", "koopman": {"rank": 4}}, "makes 4 features of 8 frames, which are 3 pairs"),
        ({"koopman": {"rank": 8}}, "koopman.rank: tiny makes 8 features of 8 frames, which are 7 pairs"),
        ({"backbone": "r3d_18", "width": 8}, "model.width: only the tiny backbone has this option"),
        ({"backbone": "vit_b16", "temporal_padding": "zero"}, "has no temporal convolutions to pad"),
        (
            {"projector_layers": 1, "projector_norm": True},
            "normalise; use 2 layers or --model.no-projector-norm",
        ),
        ({"weights": "a.pyth"}, "there are no published weights for tiny; drop it, or use one of slow_r50"),
        (
            {"backbone": "r3d_18", "weights": "S3D_Weights.KINETICS400_V1"},
            "S3D_Weights.KINETICS400_V1 are weights of s3d, not of r3d_18",
        ),
    ],
)
def test_each_contradiction_says_what_to_change(settings, message):
    (problem,) = problems(**settings)
    assert message in problem
    assert "\n" not in problem


def test_the_plain_method_needs_no_pairs():
    assert problems(decouple="none", backbone="vit_b16", clip={"frames": 4}) == []


def test_weights_of_the_backbone_itself_are_fine():
    assert problems(backbone="s3d", weights="S3D_Weights.KINETICS400_V1") == []
    assert problems(backbone="slow_r50", weights="SLOW_8x8_R50.pyth") == []


def test_the_command_line_refuses_them():
    with pytest.raises(ConfigError, match="vit_b16 makes one feature per 2 frames"):
        parse_config(["--model.backbone", "vit_b16", "--clip.frames", "9"])
