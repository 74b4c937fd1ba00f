"""A last stage with stride 1 and dilation 2 is the same stage on four grids, each twice as coarse."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from bodvcl.config.backbones import GEOMETRY
from bodvcl.config.schema import ModelConfig
from bodvcl.detect.dilated import cell_size, dilate_last_stage, refuse_undilatable
from bodvcl.errors import ConfigError
from bodvcl.models.backbones.build import build_backbone

DILATED = [name for name, geometry in GEOMETRY.items() if geometry.dilates]
STAGES = {"tiny": "layers.3", "slow_r50": "res5"}


def built(name: str):
    torch.manual_seed(0)
    return build_backbone(ModelConfig(backbone=name, width=4)).eval()


@pytest.mark.parametrize("name", GEOMETRY)
def test_the_cell_of_a_backbone_is_that_of_its_map(name):
    """Also with dilation, where it can be had; the parameters stay the same."""
    backbone = built(name)
    clip = torch.rand(1, 3, 2, 64, 96)
    with torch.no_grad():
        before = backbone.maps(clip)
        cell = cell_size(name, dilated=False)
        assert before[-1].shape[-2:] == (64 // cell, 96 // cell)
        if name not in DILATED:
            return
        weights = {key: value.clone() for key, value in backbone.state_dict().items()}
        after = dilate_last_stage(backbone).maps(clip)
    cell = cell_size(name, dilated=True)
    assert after[-1].shape == (*before[-1].shape[:3], 64 // cell, 96 // cell)
    assert backbone.state_dict().keys() == weights.keys()
    assert all(torch.equal(value, weights[key]) for key, value in backbone.state_dict().items())
    for shallow, same in zip(before[:-1], after[:-1]):
        assert torch.equal(shallow, same)


@pytest.mark.parametrize("name", ["tiny", "slow_r50", "r3d_18", "r2plus1d_18_thin"])
@pytest.mark.parametrize("padding", ["zeros", "repeat"])
def test_each_of_four_grids_passes_the_undilated_stage(name, padding):
    """The a-trous identity: on every second row and column the result is that of the stage without dilation
    (and with stride 1) on every second row and column of its input."""
    torch.manual_seed(0)
    backbone = build_backbone(ModelConfig(backbone=name, width=4, temporal_padding=padding)).eval().double()
    stage = STAGES.get(name, "layer4")
    plain = copy.deepcopy(backbone.get_submodule(stage))
    for conv in plain.modules():
        if isinstance(conv, nn.Conv3d):
            conv.stride = (1, 1, 1)
    fine = dilate_last_stage(backbone).get_submodule(stage)
    channels = next(conv.in_channels for conv in fine.modules() if isinstance(conv, nn.Conv3d))
    x = torch.randn(1, channels, 2, 6, 8, dtype=torch.float64)
    with torch.no_grad():
        y = fine(x)
        assert y.shape[-2:] == x.shape[-2:]
        for row in (0, 1):
            for column in (0, 1):
                expected = plain(x[..., row::2, column::2])
                torch.testing.assert_close(y[..., row::2, column::2], expected, rtol=1e-10, atol=1e-10)
    assert y.std() > 0


@pytest.mark.parametrize("name", ["s3d", "s3d_g", "vit_b16"])
def test_others_are_refused(name):
    with pytest.raises(
        ConfigError, match=f"the last stage of {name} cannot have stride 1.*--no-dilate.*tiny"
    ):
        refuse_undilatable(name)
