"""The head: RoIAlign at the scale of the feature map, maximum, linear layer."""

from __future__ import annotations

import pytest
import torch

from bodvcl.config.schema import ModelConfig
from bodvcl.detect.dilated import dilate_last_stage
from bodvcl.detect.roi_head import ActionDetector
from bodvcl.models.backbones.build import build_backbone


def detector(width: int = 2, outputs: int = 3) -> ActionDetector:
    torch.manual_seed(0)
    backbone = dilate_last_stage(build_backbone(ModelConfig(backbone="tiny", width=width)))
    return ActionDetector(backbone, 8, outputs).eval()


@pytest.mark.parametrize("cell", [8, 16])
def test_the_maximum_of_a_slope_is_in_the_middle_of_the_last_cell(cell):
    """A map whose value is the x of its cell's middle, in pixels: bilinear interpolation is exact on it."""
    model = detector()
    model.cell = cell
    model.head.weight.data.zero_()
    model.head.weight.data[:, 0] = 1
    map_ = torch.zeros(2, 8, 10, 12)
    map_[1, 0] = (torch.arange(12) + 0.5) * cell
    boxes = torch.tensor([[1, 2 * cell, 2 * cell, 7.0 * cell, 5 * cell], [0, 8, 8, 40, 40]])
    expected = 2 * cell + 5 * cell * 6.5 / 7
    torch.testing.assert_close(model.classify(map_, boxes), torch.tensor([[expected] * 3, [0.0] * 3]))


def test_forward_is_the_mean_over_time_then_the_head():
    model = detector()
    clips = torch.randn(2, 3, 3, 32, 48)
    boxes = torch.tensor([[0, 0.0, 0, 20, 30], [1, 10.0, 5, 40, 31], [1, 0.0, 0, 48, 32]])
    with torch.no_grad():
        map_ = model.backbone.maps(clips)[-1]
        assert map_.shape == (2, 8, 3, 4, 6)
        expected = model.classify(map_.mean(2), boxes)
        assert torch.equal(model(clips, boxes), expected)
        alone = model(clips[1:], torch.tensor([[0, 10.0, 5, 40, 31]]))
    torch.testing.assert_close(alone[0], expected[1])
    assert (expected[1] != expected[2]).any()


def test_dropout_only_while_training_and_gradients_reach_the_backbone():
    model = detector(outputs=4)
    clips, boxes = torch.randn(1, 3, 2, 32, 32), torch.tensor([[0, 4.0, 4, 28, 28]])
    assert torch.equal(model(clips, boxes), model(clips, boxes))
    model.train()
    outputs = {float(model(clips, boxes).sum().detach()) for _ in range(4)}
    assert len(outputs) > 1
    model(clips, boxes).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.backbone.parameters())


def test_low_precision_of_the_backbone_keeps_the_boxes_exact():
    model = detector()
    clips, boxes = torch.randn(1, 3, 2, 32, 32), torch.tensor([[0, 4.0, 4, 28, 28]])
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        low = model(clips, boxes)
    assert low.dtype == torch.float32
    torch.testing.assert_close(low, model(clips, boxes), rtol=0.1, atol=0.01)
