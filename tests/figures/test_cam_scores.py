"""The numbers that Grad-CAM explains, against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from bodvcl.config.schema import KoopmanConfig, ModelConfig
from bodvcl.evaluate.classifiers import fit_ridge
from bodvcl.figures.cam_scores import class_score, dynamic_score, match_score, static_score
from bodvcl.models.encoder import VideoEncoder, build_encoder
from bodvcl.models.streams import koopman_streams


@pytest.fixture(scope="module")
def encoder() -> VideoEncoder:
    torch.manual_seed(0)
    return build_encoder(ModelConfig(width=4, embed_dim=8, hidden_dim=16)).eval()


def test_class_scores_are_those_of_the_probe() -> None:
    rng = np.random.default_rng(0)
    for classes in (2, 3):
        x, y = rng.normal(size=(30, 5)), np.arange(30) % classes
        probe = fit_ridge(x, y)
        frames = torch.from_numpy(rng.normal(size=(4, 6, 5)))
        chosen = np.array([0, 1, classes - 1, 0])
        score = class_score(torch.from_numpy(probe.weights[chosen]), torch.from_numpy(probe.biases[chosen]))
        expected = probe.scores(frames.mean(1).numpy())[np.arange(4), chosen]
        np.testing.assert_allclose(score(frames).numpy(), expected, rtol=1e-10)


def test_similarities_and_size(encoder: VideoEncoder) -> None:
    frames, other = torch.randn(2, 3, 6, 16)
    koopman = KoopmanConfig()
    ours, theirs = encoder.project(frames), encoder.project(other)
    expected = F.cosine_similarity(ours.mean(1), theirs.mean(1), dim=-1)
    torch.testing.assert_close(match_score(encoder, other)(frames), expected)
    mine, its = (koopman_streams(z, koopman, None).embeddings for z in (ours, theirs))
    expected = F.cosine_similarity(mine["static"], its["static"], dim=-1)
    torch.testing.assert_close(static_score(encoder, koopman, other)(frames), expected)
    torch.testing.assert_close(dynamic_score(encoder, koopman)(frames), mine["dynamic"].square().sum(-1))


def test_no_gradient_runs_into_the_other_clip(encoder: VideoEncoder) -> None:
    frames, other = torch.randn(2, 3, 6, 16, requires_grad=True).unbind()
    other.retain_grad()
    match_score(encoder, other)(frames).sum().backward()
    assert other.grad is None
