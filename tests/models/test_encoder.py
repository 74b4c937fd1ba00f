from __future__ import annotations

import pytest
import torch

from bodvcl.config.schema import KoopmanConfig, ModelConfig, PredictionConfig
from bodvcl.models.encoder import build_encoder
from bodvcl.models.layout import parameter_count
from bodvcl.models.streams import koopman_streams, prediction_loss, video_stream


def test_parameter_count_of_the_default_model():
    encoder = build_encoder(ModelConfig())
    convs = 3 * 16 * 25 + 27 * (16 * 32 + 32 * 64 + 64 * 64) + 2 * (16 + 32 + 64 + 64)
    projector = 64 * 256 + 2 * 256 + 256 * 64 + 64  # the hidden layer has a norm and therefore no bias
    assert parameter_count(encoder) == convs + projector
    assert encoder(torch.randn(1, 3, 8, 48, 48)).shape == (1, 8, 64)


def test_backbone_and_head_can_be_called_apart():
    encoder = build_encoder(ModelConfig(width=4)).eval()
    clips = torch.randn(2, 3, 4, 16, 16)
    torch.testing.assert_close(encoder.project(encoder.frames(clips)), encoder(clips), rtol=0, atol=0)
    names = {name for name, _ in encoder.named_parameters()}
    assert encoder.head_names() == {n for n in names if not n.startswith("backbone.")}
    assert len(encoder.head_names()) == 5, "a matrix, the norm's two, a matrix and its bias"
    plain = build_encoder(ModelConfig(width=4, projector_norm=False))
    assert len(plain.head_names()) == 4, "two matrices and their biases"


def embeddings(dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(6, 8, 12, generator=generator, dtype=dtype)


def test_streams_of_a_static_clip():
    z = embeddings()[:, :1].expand(-1, 8, -1)
    streams = koopman_streams(z, KoopmanConfig(mask="hard", ridge=0.0, normalize=False), None)
    torch.testing.assert_close(streams.embeddings["static"], z[:, 0])
    assert streams.embeddings["dynamic"].abs().max() < 1e-12
    assert streams.diagnostics["static_modes"] == 1
    torch.testing.assert_close(video_stream(z).embeddings["video"], z[:, 0])


def test_streams_and_loss_from_one_pass_equal_those_from_two():
    z, koopman, prediction = embeddings(), KoopmanConfig(), PredictionConfig()
    both = koopman_streams(z, koopman, prediction)
    torch.testing.assert_close(both.lower, prediction_loss(z, koopman, prediction))
    split = koopman_streams(z, koopman, None)
    assert split.lower is None
    for name in ("static", "dynamic"):
        torch.testing.assert_close(both.embeddings[name], split.embeddings[name])


@pytest.mark.parametrize("mask", ["hard", "smooth"])
@pytest.mark.parametrize("weights", ["eigenvalue", "projector"])
def test_fast_and_reference_streams_agree(mask, weights):
    z, koopman = embeddings(torch.float32), KoopmanConfig(mask=mask, weights=weights, xi=0.3)
    fast, reference = (koopman_streams(z, koopman, PredictionConfig(), fast=f) for f in (True, False))
    for name in ("static", "dynamic"):
        torch.testing.assert_close(
            fast.embeddings[name].double(), reference.embeddings[name], rtol=1e-5, atol=1e-6
        )
    torch.testing.assert_close(fast.lower.double(), reference.lower.double(), rtol=1e-5, atol=1e-8)


def test_empty_streams_are_counted():
    z = embeddings()
    z[:2] = 0
    streams = koopman_streams(z, KoopmanConfig(), None)
    assert streams.diagnostics["empty_static"] == pytest.approx(2 / 6)
    assert streams.diagnostics["empty_dynamic"] == pytest.approx(2 / 6)
