"""Features of a held frame: as long as it must be held, and no longer."""

from __future__ import annotations

import pytest
import torch

from bodvcl.config.schema import ModelConfig
from bodvcl.evaluate.features import frames_held, still_features
from bodvcl.models.encoder import VideoEncoder, build_encoder

FRAMES = 4


def made(model: ModelConfig) -> tuple[VideoEncoder, torch.Tensor]:
    torch.manual_seed(0)
    return build_encoder(model).eval(), torch.randn(2, 3, FRAMES, 48, 48)


def held_for_the_whole_clip(encoder: VideoEncoder, clips: torch.Tensor) -> torch.Tensor:
    return encoder.frames(clips[:, :, 2:3].expand_as(clips)).mean(1)


@torch.no_grad()
@pytest.mark.parametrize("name", ["tiny", "slow_r50", "r3d_18_thin", "r2plus1d_18_thin", "s3d", "s3d_g"])
def test_one_frame_is_enough_where_outer_frames_are_repeated(name: str) -> None:
    model = ModelConfig(backbone=name, embed_dim=8, hidden_dim=8)
    encoder, clips = made(model)
    assert frames_held(model, FRAMES) == 1
    want = held_for_the_whole_clip(encoder, clips)
    torch.testing.assert_close(
        still_features(encoder, clips, 1), want, rtol=1e-4, atol=1e-5 * want.abs().max().item()
    )


@torch.no_grad()
@pytest.mark.parametrize(
    "model",
    [
        ModelConfig(backbone="tiny", temporal_padding="zero"),
        ModelConfig(backbone="vit_b16", embed_dim=8, hidden_dim=8),
    ],
)
def test_the_length_of_a_clip_matters_elsewhere(model: ModelConfig) -> None:
    encoder, clips = made(model)
    assert frames_held(model, FRAMES) == FRAMES
    want = held_for_the_whole_clip(encoder, clips)
    torch.testing.assert_close(still_features(encoder, clips, FRAMES), want)
    assert not torch.allclose(still_features(encoder, clips, 2), want, rtol=1e-3)
