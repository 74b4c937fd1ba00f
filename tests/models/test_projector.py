from __future__ import annotations

import pytest
import torch
from torch import nn

from bodvcl.models.projector import FrameMLP


@pytest.mark.parametrize("layers", [1, 2, 3, 4])
@pytest.mark.parametrize("norm", [False, True])
def test_layers_and_widths(layers, norm):
    mlp = FrameMLP(12, 20, 8, layers, norm=norm)
    linears = [m for m in mlp if isinstance(m, nn.Linear)]
    assert [m.out_features for m in linears] == [20] * (layers - 1) + [8]
    assert sum(isinstance(m, nn.BatchNorm1d) for m in mlp) == (layers - 1 if norm else 0)
    assert sum(isinstance(m, nn.ReLU) for m in mlp) == layers - 1
    assert linears[-1].bias is not None
    assert mlp(torch.randn(3, 5, 12)).shape == (3, 5, 8)
    assert mlp(torch.randn(3, 12)).shape == (3, 8)


def test_the_paper_s_projector_has_three_layers_of_2048():
    with torch.device("meta"):
        mlp = FrameMLP(2048, 2048, 128, 3)
    assert sum(p.numel() for p in mlp.parameters()) == 2 * (2048 * 2048 + 2048) + 2048 * 128 + 128


def test_statistics_run_over_all_frames_of_the_batch():
    torch.manual_seed(0)
    mlp = FrameMLP(6, 10, 4, 2, norm=True).double()
    features = torch.randn(3, 5, 6, dtype=torch.float64)
    hidden = features.reshape(15, 6) @ mlp[0].weight.T
    normal = (hidden - hidden.mean(0)) / (hidden.var(0, unbiased=False) + mlp[1].eps).sqrt()
    expected = normal.relu() @ mlp[3].weight.T + mlp[3].bias
    torch.testing.assert_close(mlp(features), expected.view(3, 5, 4))
    torch.testing.assert_close(mlp[1].running_mean, 0.1 * hidden.mean(0))


def test_without_statistics_a_frame_does_not_see_the_others():
    mlp = FrameMLP(6, 10, 4, 3).double()
    features = torch.randn(3, 5, 6, dtype=torch.float64)
    torch.testing.assert_close(mlp(features)[:, 2:3], mlp(features[:, 2:3]))
