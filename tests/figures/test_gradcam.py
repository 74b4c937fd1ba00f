"""Grad-CAM against its formula, on networks whose answer is known, and on every kind of backbone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bodvcl.config.schema import ModelConfig
from bodvcl.figures.gradcam import attention, grad_cam, on_pixels
from bodvcl.models.backbones.base import Backbone
from bodvcl.models.backbones.build import build_backbone
from bodvcl.models.backbones.vit import TubeletViT
from bodvcl.models.encoder import VideoEncoder


class Linear(Backbone):
    """One linear map of each cell of 4 x 4 pixels: what it looks at can be worked out by hand."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__("tiny", len(weight))
        self.weight = nn.Parameter(weight)

    def parts(self) -> list[list[nn.Module]]:
        return [[self]]

    def maps(self, clips: Tensor) -> list[Tensor]:
        cells = nn.functional.avg_pool3d(clips, (1, 4, 4))
        return [torch.einsum("dc,ncthw->ndthw", self.weight, cells)] * 4


def encoder_of(backbone: Backbone) -> VideoEncoder:
    return VideoEncoder(backbone, nn.Identity())


@pytest.mark.parametrize("per_frame", [False, True])
def test_the_formula_with_loops(per_frame: bool) -> None:
    rng = np.random.default_rng(0)
    a, g = rng.normal(size=(2, 2, 3, 4, 5, 6))
    found = grad_cam(torch.from_numpy(a), torch.from_numpy(g), per_frame=per_frame).numpy()
    for n in range(2):
        for t in range(4):
            expected = np.zeros((5, 6))
            for k in range(3):
                alpha = g[n, k, t].mean() if per_frame else g[n, k].mean()
                expected += alpha * a[n, k, t]
            np.testing.assert_allclose(found[n, t], np.maximum(expected, 0), rtol=1e-12, atol=1e-15)


def test_a_linear_network_has_the_map_that_its_weights_say() -> None:
    torch.manual_seed(1)
    weight, clips, w = torch.randn(5, 3), torch.randn(2, 3, 4, 16, 16), torch.randn(5)
    found = attention(encoder_of(Linear(weight)), clips, lambda frames: frames.mean(1) @ w)
    cells = nn.functional.avg_pool3d(clips, (1, 4, 4))
    score = torch.einsum("d,dc,ncthw->nthw", w, weight, cells)  # dS / dA_k = w_k / (T h w) everywhere
    expected = (score / (4 * 4 * 4)).relu()
    torch.testing.assert_close(found.maps, on_pixels(expected, 4, 16, 16))
    torch.testing.assert_close(found.scores, score.mean((1, 2, 3)))


def moving_patch(channel: int, brightness: list[float]) -> Tensor:
    """A patch of 4 x 4 pixels that moves down the diagonal, beside a larger bright one that stands still."""
    clip = torch.zeros(1, 3, len(brightness), 32, 32)
    clip[:, 1, :, 20:32, 0:12] = 5.0
    for t, light in enumerate(brightness):
        clip[0, channel, t, 4 * t : 4 * t + 4, 4 * t : 4 * t + 4] = light
    return clip


def test_the_maximum_follows_the_only_patch_that_matters() -> None:
    clip = moving_patch(0, [1.0] * 6)
    found = attention(encoder_of(Linear(torch.eye(3))), clip, lambda frames: frames[..., 0].mean(1))
    for t in range(6):
        row, column = divmod(int(found.maps[0, t].argmax()), 32)
        assert 4 * t <= row < 4 * t + 4
        assert 4 * t <= column < 4 * t + 4
    assert found.maps[0, :, 24:, :8].max() == 0  # the patch that stands still


def test_a_score_of_change_needs_weights_per_frame() -> None:
    clip = moving_patch(0, [1.0, 3.0, 1.0, 3.0])

    def change(frames: Tensor) -> Tensor:
        return frames.var(1, correction=0).sum(-1)

    encoder = encoder_of(Linear(torch.eye(3)))
    per_clip = attention(encoder, clip, change)
    assert per_clip.scores > 0
    per_frame = attention(encoder, clip, change, per_frame=True)
    assert per_frame.maps.max() > 0
    assert per_clip.maps.max() < 1e-5 * per_frame.maps.max()  # its gradient sums to zero over time
    for t in (1, 3):  # the bright frames raise the variance
        row, column = divmod(int(per_frame.maps[0, t].argmax()), 32)
        assert (row // 4, column // 4) == (t, t)


def test_a_score_without_a_gradient_has_a_map_of_zeros() -> None:
    encoder, clips = encoder_of(Linear(torch.eye(3))), torch.randn(2, 3, 4, 16, 16)
    found = attention(encoder, clips, lambda frames: 0 * frames.sum((1, 2)))
    assert (found.maps == 0).all()
    assert torch.isfinite(found.maps).all()


def test_fewer_features_than_frames_are_spread_over_their_frames() -> None:
    cam = torch.tensor([1.0, 3.0]).view(1, 2, 1, 1)
    assert on_pixels(cam, 4, 2, 2)[0, :, 0, 0].tolist() == [1.0, 1.5, 2.5, 3.0]
    same = torch.rand(1, 4, 3, 3)
    torch.testing.assert_close(on_pixels(same, 4, 3, 3), same)


BACKBONES = {
    "tiny": lambda: build_backbone(ModelConfig(backbone="tiny", width=4)),
    "slow_r50": lambda: build_backbone(ModelConfig(backbone="slow_r50")),
    "r2plus1d_18_thin": lambda: build_backbone(ModelConfig(backbone="r2plus1d_18_thin")),
    "s3d_g": lambda: build_backbone(ModelConfig(backbone="s3d_g", temporal_padding="repeat")),
    "vit": lambda: TubeletViT(dim=24, depth=4, heads=4, size=32),
}


@pytest.mark.parametrize("name", BACKBONES)
def test_every_kind_of_backbone_at_every_depth(name: str) -> None:
    encoder = encoder_of(BACKBONES[name]())
    encoder.train()
    clips = torch.randn(2, 3, 4, 32, 32)
    w = torch.randn(encoder.backbone.dim)
    for depth in (1, 4):
        found = attention(encoder, clips, lambda frames: frames.mean(1) @ w, depth=depth)
        assert found.maps.shape == (2, 4, 32, 32)
        assert torch.isfinite(found.maps).all()
        assert (found.maps >= 0).all()
        assert found.maps.max() > 0
    alone = attention(encoder, clips[:1], lambda frames: frames.mean(1) @ w)
    torch.testing.assert_close(alone.maps[0], found.maps[0], rtol=1e-3, atol=1e-3 * float(found.maps.max()))
    assert encoder.training
    assert all(p.grad is None for p in encoder.parameters())
