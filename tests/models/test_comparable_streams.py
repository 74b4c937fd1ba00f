"""The dynamic stream as a deviation over time, prepared for a contrastive loss."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import normalize

from bodvcl.config.schema import KoopmanConfig
from bodvcl.models.streams import comparable, koopman_streams

STD = KoopmanConfig()


def frames(count=6, length=8, width=12, seed=0):
    g = torch.Generator().manual_seed(seed)
    still = torch.randn(count, 1, width, generator=g, dtype=torch.float64)
    return still + 0.3 * torch.randn(count, length, width, generator=g, dtype=torch.float64).cumsum(1)


def test_none_is_the_deviation_over_time():
    named, default = (koopman_streams(frames(), KoopmanConfig(dynamic=d), None) for d in ("std", None))
    assert torch.equal(named.embeddings["dynamic"], default.embeddings["dynamic"])
    assert (default.embeddings["dynamic"] > 0).all()
    mean = koopman_streams(frames(), KoopmanConfig(dynamic="mean"), None).embeddings["dynamic"]
    assert (mean < 0).any()


def test_the_static_stream_beside_it_is_the_mean_of_the_frames():
    x = frames()
    mean = normalize(x, dim=-1).mean(1)
    for static, dynamic, want in [(None, None, True), ("mean", "mean", True), ("part", "std", False)]:
        koopman = KoopmanConfig(static=static, dynamic=dynamic)
        got = koopman_streams(x, koopman, None).embeddings["static"]
        assert torch.equal(got, mean) == want, (static, dynamic)
    paper = koopman_streams(x, KoopmanConfig(dynamic="mean"), None)
    assert torch.equal(paper.embeddings["static"], paper.split.static), "Eq. 21"
    raw = koopman_streams(x, KoopmanConfig(normalize=False), None).embeddings["static"]
    assert torch.equal(raw, x.mean(1)), "the frames that the operator is fitted to"


def test_every_feature_has_mean_0_and_deviation_1_over_the_batch():
    streams = koopman_streams(frames(), STD, None)
    ready = comparable(streams, STD)
    d = ready.embeddings["dynamic"]
    torch.testing.assert_close(d.mean(0), torch.zeros_like(d[0]), rtol=0, atol=1e-12)
    torch.testing.assert_close(d.std(0, correction=0), torch.ones_like(d[0]), rtol=1e-3, atol=0)
    assert torch.equal(ready.embeddings["static"], streams.embeddings["static"])


def test_the_mean_of_the_paper_is_left_as_it_is():
    paper = KoopmanConfig(dynamic="mean")
    streams = koopman_streams(frames(), paper, None)
    assert comparable(streams, paper) is streams


def test_a_still_clip_stays_an_empty_stream():
    x = frames()
    x[2] = x[2, :1]
    x.requires_grad_()
    dynamic = comparable(koopman_streams(x, STD, None), STD).embeddings["dynamic"]
    assert (dynamic[2] == 0).all()
    assert (dynamic[[0, 1, 3, 4, 5]].abs().amax(1) > 0).all()
    dynamic.square().sum().backward()
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("count", [1, 2])
def test_a_batch_of_one_clip_or_of_two_is_finite(count):
    x = frames(count, length=3).requires_grad_()
    dynamic = comparable(koopman_streams(x, STD, None), STD).embeddings["dynamic"]
    assert dynamic.isfinite().all()
    (dynamic.sum() + dynamic.square().sum()).backward()
    assert x.grad.isfinite().all()
