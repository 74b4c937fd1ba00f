from __future__ import annotations

import itertools

import pytest
import torch
from torch.nn.functional import normalize

from bodvcl.config.schema import KoopmanConfig
from bodvcl.models.stream_health import stream_health
from bodvcl.models.streams import SplitOutput, koopman_streams


def health(z, views=2):
    return {k: v.item() for k, v in stream_health(SplitOutput({"s": z}, None, {}), views).items()}


def test_values_are_those_of_the_formulas():
    z = torch.randn(8, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    z[3] = 0
    found = health(z)
    u = normalize(z, dim=-1)
    cosines = [
        u[i] @ u[j] for i, j in itertools.permutations(range(8), 2) if i // 2 != j // 2 and 3 not in (i, j)
    ]
    assert found["mean_cosine_s"] == pytest.approx(torch.stack(cosines).mean().item())
    p = torch.linalg.svdvals(u)
    p = p / p.sum()
    assert found["effective_rank_s"] == pytest.approx((-(p * p.log()).sum()).exp().item())


def test_collapse_and_spread_are_told_apart():
    assert health(torch.ones(8, 5)) == pytest.approx(
        {"mean_cosine_s": 1.0, "effective_rank_s": 1.0}, abs=1e-3
    )
    assert health(torch.eye(8)) == pytest.approx({"mean_cosine_s": 0.0, "effective_rank_s": 8.0}, abs=1e-3)


def test_nothing_and_nan_are_no_crash():
    assert health(torch.zeros(4, 3))["mean_cosine_s"] == 0
    z = torch.randn(4, 3)
    z[1, 1] = torch.nan
    assert all(value == value for value in health(z).values())


def test_the_spectrum_of_a_rotation_is_on_the_circle():
    angle = torch.arange(8) * 0.7
    turning = torch.stack([angle.cos(), angle.sin(), torch.ones(8)], -1).double()
    still = torch.ones(8, 3, dtype=torch.float64)
    clips = torch.stack([turning, turning, still, still])
    koopman = KoopmanConfig(mask="hard", ridge=0.0, normalize=False)
    found = stream_health(koopman_streams(clips, koopman, None), 2)
    assert found["circle_distance"].item() == pytest.approx(0, abs=1e-6)
    assert found["split_margin"].item() == pytest.approx(koopman.xi, rel=0.05)
    faded = clips * torch.linspace(1, 0.5, 8, dtype=torch.float64)[:, None]
    assert stream_health(koopman_streams(faded, koopman, None), 2)["circle_distance"].item() > 0.02


def test_streams_that_hold_the_same_have_the_same_neighbours():
    g = torch.Generator().manual_seed(0)
    z, other = torch.randn(2, 32, 6, generator=g, dtype=torch.float64)
    turn = torch.linalg.qr(torch.randn(6, 6, generator=g, dtype=torch.float64))[0]
    split = koopman_streams(torch.randn(32, 5, 6, generator=g), KoopmanConfig(), None).split

    def shared(static, dynamic, views=2):
        streams = SplitOutput({"static": static, "dynamic": dynamic}, None, {}, split)
        return stream_health(streams, views)["shared_neighbours"].item()

    assert shared(z, z @ turn) == 1, "the same, in other directions"
    assert shared(z, other) < 0.3
    pairs = torch.eye(16).repeat_interleave(2, 0) + 0.1 * torch.roll(torch.eye(16), 3, 1).repeat_interleave(
        2, 0
    )
    assert shared(pairs, pairs) == 1, "a clip of the same video is no neighbour"
    split = koopman_streams(torch.randn(2, 5, 6, generator=g), KoopmanConfig(), None).split
    assert shared(z[:2], z[:2]) == 0, "one video"


def test_a_large_ridge_makes_the_streams_the_same():
    generator = torch.Generator().manual_seed(0)
    clips = 3 + torch.randn(4, 8, 16, generator=generator, dtype=torch.float64)
    alike = {
        ridge: stream_health(koopman_streams(clips, KoopmanConfig(ridge=ridge, dynamic="mean"), None), 2)[
            "stream_cosine"
        ]
        for ridge in (0.0, 100.0)
    }
    assert alike[0.0] < 0.5
    assert alike[100.0] > 0.95


def test_an_empty_stream_is_like_no_other():
    still = torch.ones(2, 8, 3, dtype=torch.float64)
    koopman = KoopmanConfig(mask="hard", ridge=0.0)
    assert stream_health(koopman_streams(still, koopman, None), 2)["stream_cosine"] == 0
