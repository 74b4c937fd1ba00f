"""LARS, LAMB and the moving average, step by step against plain loops over the published formulas."""

from __future__ import annotations

import sys

import pytest
import torch
from torch import nn

from bodvcl.config.checks import optim_contradictions
from bodvcl.config.schema import OptimConfig
from bodvcl.errors import ConfigError
from bodvcl.optim.apex import apex_lamb_usable
from bodvcl.optim.ema import ema_update
from bodvcl.optim.factory import make_optimizer
from bodvcl.optim.lamb import LAMB
from bodvcl.optim.lars import LARS

SHAPES = [(4, 3, 1, 3, 3), (5, 4), (4,), (5,), (1, 1), (3, 3)]


def parameters(dtype=torch.float64):
    generator = torch.Generator().manual_seed(3)
    made = [torch.randn(shape, generator=generator, dtype=dtype) for shape in SHAPES]
    made[0] = made[0].contiguous(memory_format=torch.channels_last_3d)
    made[5].zero_()  # a zero weight has no norm to adapt to
    return [nn.Parameter(p) for p in made]


def gradient(p, step):
    generator = torch.Generator().manual_seed(100 * step + p.numel())
    g = torch.randn(p.shape, generator=generator, dtype=torch.float64).to(p.dtype)
    if p.shape == (1, 1) and step == 1:
        g.zero_()
    return g if p.dim() != 5 else g.contiguous(memory_format=torch.channels_last_3d)


def train(optimizer, params, steps, first=0):
    for step in range(first, first + steps):
        for p in params:
            p.grad = gradient(p, step)
        optimizer.step()


def groups(params, decay):
    return [
        {"params": [p for p in params if p.dim() > 1], "weight_decay": decay},
        {"params": [p for p in params if p.dim() <= 1], "weight_decay": 0.0, "adapt": False},
    ]


@pytest.mark.parametrize("nesterov", [True, False])
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_lars_takes_the_published_step(nesterov, decay):
    lr, mu, trust, eps = 0.5, 0.9, 0.01, 1e-8
    params = parameters()
    optimizer = LARS(groups(params, decay), lr, mu, trust=trust, eps=eps, nesterov=nesterov)
    want, buffers = [p.detach().clone() for p in params], [torch.zeros_like(p) for p in params]
    for step in range(4):
        train(optimizer, params, 1, step)
        for w, u in zip(want, buffers):
            g = gradient(w, step)
            if w.dim() > 1:
                w_norm, g_norm = w.norm().item(), g.norm().item()
                rate = trust * w_norm / (g_norm + decay * w_norm + eps) if w_norm > 0 else 1.0
                g = rate * (g + decay * w) if g_norm > 0 else 0 * g
            u.mul_(mu).add_(g)
            w.sub_(lr * (g + mu * u if nesterov else u))
        for p, w in zip(params, want):
            torch.testing.assert_close(p.detach(), w, rtol=1e-12, atol=1e-14)
    assert [g["weight_decay"] for g in optimizer.param_groups] == [decay, 0.0]


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_lamb_takes_the_published_step(decay):
    lr, beta1, beta2, eps = 0.1, 0.9, 0.99, 1e-6
    params = parameters()
    optimizer = LAMB(groups(params, decay), lr, (beta1, beta2), eps)
    want = [p.detach().clone() for p in params]
    means, squares = [torch.zeros_like(p) for p in want], [torch.zeros_like(p) for p in want]
    for step in range(4):
        train(optimizer, params, 1, step)
        for w, m, s in zip(want, means, squares):
            g = gradient(w, step)
            m.copy_(beta1 * m + (1 - beta1) * g)
            s.copy_(beta2 * s + (1 - beta2) * g * g)
            r = (m / (1 - beta1 ** (step + 1))) / ((s / (1 - beta2 ** (step + 1))).sqrt() + eps)
            ratio = 1.0
            if w.dim() > 1:
                r = r + decay * w
                if w.norm() > 0 and r.norm() > 0:
                    ratio = (w.norm() / r.norm()).item()
            w.sub_(lr * ratio * r)
        for p, w in zip(params, want):
            torch.testing.assert_close(p.detach(), w, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("name", ["sgd", "lars", "adamw", "lamb"])
@pytest.mark.parametrize("fast", [True, False])
def test_an_optimiser_goes_on_from_its_saved_state_bit_for_bit(name, fast, tmp_path):
    config = OptimConfig(name=name, weight_decay=0.05)
    whole, halves = parameters(torch.float32), parameters(torch.float32)
    train(make_optimizer(whole, config, 0.01, fast), whole, 6)
    first = make_optimizer(halves, config, 0.01, fast)
    train(first, halves, 3)
    torch.save(first.state_dict(), tmp_path / "state.pt")
    second = make_optimizer(halves, config, 0.01, fast)
    second.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    train(second, halves, 3, first=3)
    for a, b in zip(whole, halves):
        assert torch.equal(a, b)


@pytest.mark.parametrize("name", ["sgd", "lars", "adamw", "lamb"])
def test_fast_and_reference_optimisers_take_the_same_steps(name):
    results = []
    for fast in (True, False):
        params = parameters(torch.float32)
        train(make_optimizer(params, OptimConfig(name=name, weight_decay=0.05), 0.01, fast), params, 3)
        results.append(params)
    for a, b in zip(*results):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["sgd", "lars", "adamw", "lamb"])
def test_biases_and_norms_do_not_decay(name):
    params = parameters(torch.float32)
    optimizer = make_optimizer(params, OptimConfig(name=name, weight_decay=0.05), 0.01, True)
    decaying, others = optimizer.param_groups
    assert {p.dim() for p in others["params"]} == {1}
    assert others["weight_decay"] == 0
    assert decaying["weight_decay"] == 0.05
    assert len(decaying["params"]) + len(others["params"]) == len(SHAPES)


def test_a_moving_average_follows_the_formula_and_leaves_buffers_alone():
    torch.manual_seed(0)
    source, target = nn.BatchNorm1d(4), nn.BatchNorm1d(4)
    nn.init.normal_(source.weight)
    source.running_mean.fill_(7.0)
    want = target.weight.detach().clone()
    for _ in range(3):
        ema_update(target, source, 0.9)
        want = 0.9 * want + 0.1 * source.weight.detach()
    torch.testing.assert_close(target.weight.detach(), want)
    assert torch.equal(target.running_mean, torch.zeros(4))
    ema_update(target, source, 0.0)
    assert torch.equal(target.weight, source.weight)


def test_a_moving_average_of_another_module_is_refused():
    with pytest.raises(ValueError, match="different parameters"):
        ema_update(nn.Linear(2, 2), nn.Linear(2, 3), 0.9)
    with pytest.raises(ValueError, match=r"m is 1\.5"):
        ema_update(nn.Linear(2, 2), nn.Linear(2, 2), 1.5)


def fake_apex(root, genuine, extensions):
    package = root / "apex"
    package.mkdir()
    (package / "__init__.py").write_text("raise ImportError('never imported to find out')\n")
    if genuine:
        (package / "multi_tensor_apply").mkdir()
        (package / "multi_tensor_apply" / "multi_tensor_apply.py").write_text("")
    if extensions:
        (root / "amp_C.py").write_text("")


@pytest.mark.parametrize(
    ("genuine", "extensions", "reason"),
    [(False, False, "PyPI package"), (True, False, "without its CUDA extensions"), (True, True, "")],
)
def test_apex_is_recognised_without_importing_it(tmp_path, monkeypatch, genuine, extensions, reason):
    fake_apex(tmp_path, genuine, extensions)
    monkeypatch.syspath_prepend(tmp_path)
    usable = apex_lamb_usable()
    assert reason in usable.reason
    assert usable.yes == (genuine and extensions and torch.cuda.is_available())
    assert "apex" not in sys.modules


def test_apex_asked_for_and_not_there_is_an_error(monkeypatch):
    monkeypatch.setattr("bodvcl.optim.apex.find_spec", lambda name: None)
    config = OptimConfig(name="lamb", fused="apex")
    with pytest.raises(ConfigError, match=r"--optim.fused apex: NVIDIA apex is not installed"):
        make_optimizer(parameters(), config, 0.1, True)
    assert isinstance(make_optimizer(parameters(), OptimConfig(name="lamb"), 0.1, True), LAMB)


def test_apex_for_an_optimiser_that_needs_none_is_refused():
    assert "only lamb" in next(optim_contradictions(OptimConfig(name="sgd", fused="apex")))
    assert "weight decay" in next(
        optim_contradictions(OptimConfig(name="lamb", fused="apex", weight_decay=0))
    )
    assert not list(optim_contradictions(OptimConfig(name="lamb", fused="apex")))
