"""The split from additions and products alone is the split that trains and evaluates."""

from __future__ import annotations

import itertools

import pytest
import torch

from bodvcl.config.schema import KoopmanConfig
from bodvcl.export.streams import PlainStreams, positive_inverse, why_no_streams
from bodvcl.models.streams import koopman_streams

OPTIONS = list(itertools.product(("eigenvalue", "projector"), ("mean", "std"), ("part", "mean")))


@pytest.mark.parametrize(("weights", "dynamic", "static"), OPTIONS)
@pytest.mark.parametrize(("frames", "width"), [(8, 12), (3, 2), (16, 4), (5, 64)])
def test_it_is_the_split_of_the_package(weights, dynamic, static, frames, width):
    embeddings = torch.randn(4, frames, width) + torch.randn(4, 1, width)
    embeddings[1] = embeddings[1, :1]  # a still clip
    embeddings[2] = 0
    for power, normalize in ((1, True), (8, True), (8, False)):
        koopman = KoopmanConfig(
            weights=weights, dynamic=dynamic, static=static, smooth_power=power, normalize=normalize
        )
        found = PlainStreams(koopman)(embeddings)
        wanted = koopman_streams(embeddings, koopman, None).embeddings
        torch.testing.assert_close(found[0], wanted["static"], rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(found[1], wanted["dynamic"], rtol=1e-5, atol=1e-6)
        if dynamic == "std":
            assert not found[1][1].any(), "nothing moves in a still clip"


def test_the_inverse_is_the_inverse():
    factor = torch.randn(5, 15, 15, dtype=torch.float64)
    matrix = factor @ factor.mT + 0.01 * torch.eye(15, dtype=torch.float64)
    torch.testing.assert_close(
        matrix @ positive_inverse(matrix),
        torch.eye(15, dtype=torch.float64).expand(5, -1, -1),
        rtol=0,
        atol=1e-8,
    )


@pytest.mark.parametrize(
    ("koopman", "why"),
    [
        (KoopmanConfig(), None),
        (KoopmanConfig(mask="hard"), "eigenvalues"),
        (KoopmanConfig(ridge=0), "singular values"),
        (KoopmanConfig(rank=3), "singular values"),
    ],
)
def test_what_cannot_be_exported_says_why(koopman, why):
    found = why_no_streams(koopman)
    assert found is None if why is None else why in found
