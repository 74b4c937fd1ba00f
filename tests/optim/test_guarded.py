"""A step that is left out changes nothing, wherever it comes, and the next goes on as if it had not been."""

from __future__ import annotations

import copy
import math

import pytest
import torch

from bodvcl.config.schema import OptimConfig
from bodvcl.optim.ema import ema_update
from bodvcl.optim.factory import make_optimizer
from bodvcl.optim.guarded import step_unless

NAMES = ["sgd", "lars", "adamw", "lamb"]
SHAPES = [(4, 3, 1, 3, 3), (5, 4), (4,)]


def parameters():
    generator = torch.Generator().manual_seed(3)
    return [torch.nn.Parameter(torch.randn(shape, generator=generator)) for shape in SHAPES]


def take(optimizer, params, seed, bad=None):
    """One step with the gradient of a seed, of which one number is ``bad``."""
    generator = torch.Generator().manual_seed(seed)
    for p in params:
        p.grad = torch.randn(p.shape, generator=generator)
    if bad is not None:
        params[seed % len(params)].grad.view(-1)[0] = bad
    step_unless(optimizer, torch.tensor(bad is not None))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_a_step_that_is_left_out_never_was(name, fast, bad):
    config = OptimConfig(name=name, weight_decay=0.05)
    whole, holes = parameters(), parameters()
    one, other = (make_optimizer(params, config, 0.01, fast) for params in (whole, holes))
    take(other, holes, 0, bad)
    for seed in range(1, 4):
        take(one, whole, seed)
        take(other, holes, seed)
        before = copy.deepcopy(other.state_dict()["state"])
        weights = [p.detach().clone() for p in holes]
        take(other, holes, seed, bad)
        assert all(torch.equal(p, w) for p, w in zip(holes, weights))
        for key, state in other.state_dict()["state"].items():
            for part, value in state.items():
                assert torch.equal(torch.as_tensor(value), torch.as_tensor(before[key][part])), part
    for a, b in zip(whole, holes):
        assert torch.isfinite(b).all()
        assert torch.equal(a, b)


@pytest.mark.parametrize("name", NAMES)
def test_the_fast_optimisers_ask_nothing_of_the_host(name, monkeypatch):
    params = parameters()
    optimizer = make_optimizer(params, OptimConfig(name=name, weight_decay=0.05), 0.01, fast=True)

    def asked(self):
        raise AssertionError("the host waits for the device")

    monkeypatch.setattr(torch.Tensor, "item", asked)
    take(optimizer, params, 1)
    take(optimizer, params, 2, math.nan)


def test_an_average_does_not_move_with_a_step_that_is_left_out():
    torch.manual_seed(0)
    source, target = torch.nn.Linear(3, 2), torch.nn.Linear(3, 2)
    before = [p.detach().clone() for p in target.parameters()]
    ema_update(target, source, 0.9, torch.tensor(False))
    assert all(torch.equal(p, b) for p, b in zip(target.parameters(), before))
    want = [0.9 * p + 0.1 * q for p, q in zip(target.parameters(), source.parameters())]
    ema_update(target, source, 0.9, torch.tensor(True))
    for p, w in zip(target.parameters(), want):
        torch.testing.assert_close(p.detach(), w)
