from __future__ import annotations

import math

import pytest
import torch

from bodvcl.config.schema import ModelConfig, TrainConfig
from bodvcl.engine.assemble import build_learner
from bodvcl.models.momentum import momentum_at


def learner(method="byol"):
    config = TrainConfig(method=method, model=ModelConfig(width=4, embed_dim=6, hidden_dim=8))
    config.moco.queue = 16
    return build_learner(config)


def test_the_momentum_rises_to_one_as_a_cosine():
    assert momentum_at(0.99, 0.0) == pytest.approx(0.99)
    assert momentum_at(0.99, 0.5) == pytest.approx(0.995)
    assert momentum_at(0.99, 1.0) == 1.0
    assert momentum_at(0.996, 0.3) == pytest.approx(1 - 0.004 * (math.cos(0.3 * math.pi) + 1) / 2)


@pytest.mark.parametrize("method", ["moco", "byol"])
def test_the_momentum_encoder_follows_the_formula_and_nobody_trains_it(method):
    own = learner(method)
    start = [p.clone() for p in own.encoder.parameters()]
    for a, b in zip(own.target.parameters(), start, strict=True):
        assert torch.equal(a, b), "it starts as a copy"
    want = start
    for step in range(3):
        with torch.no_grad():
            for p in own.encoder.parameters():
                p.add_(torch.randn_like(p))
        keys = {s: torch.randn(4, 6) for s in ("static", "dynamic")}
        own.after_step([keys], (step + 1) / 10, torch.tensor(True))
        m = momentum_at(own.objective.momentum, (step + 1) / 10)
        want = [m * t + (1 - m) * p for t, p in zip(want, own.encoder.parameters())]
    for a, b in zip(own.target.parameters(), want, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)
    assert not any(name.startswith("target") for name in own.trainable())
    assert not any(p.requires_grad for p in own.target.parameters())
    assert any(name.startswith("target.") for name in own.state_dict())


def test_methods_without_a_momentum_encoder_keep_none():
    assert learner("simclr").target is None
    assert not any(name.startswith("target") for name in learner("swav").state_dict())
