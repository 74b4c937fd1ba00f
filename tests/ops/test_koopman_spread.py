"""Invariants of ``pool="std"``: the dynamic stream as a standard deviation over time."""

from __future__ import annotations

import math

import pytest
import torch
from koopman_cases import EVERY, FAST, close, orthonormal, paper_split, put, walk
from torch import Tensor

from bodvcl.ops.koopman import koopman_split

OPTIONS = [
    {"mask": "hard", "ridge": 0.0},
    {"mask": "hard", "ridge": 0.0, "weights": "projector"},
    {"mask": "smooth", "ridge": 0.01},
    {"mask": "smooth", "ridge": 0.01, "weights": "projector"},
]


def spread(x: Tensor, backend: str, xi: float = 0.5, **options) -> Tensor:
    return koopman_split(put(x, backend), xi, pool="std", backend=backend, **options).dynamic


def oscillation(phase: float, periods: int = 1, frames: int = 12, width: int = 20) -> Tensor:
    """A clip (1, frames, width): a constant, and a rotation in a plane that starts at a phase."""
    g = torch.Generator().manual_seed(3)
    still, a, b = torch.randn(3, width, generator=g, dtype=torch.float64)
    angle = 2 * math.pi * periods * torch.arange(frames, dtype=torch.float64) / frames + phase
    return (still + angle.cos()[:, None] * a + angle.sin()[:, None] * b)[None]


@pytest.mark.parametrize("backend", EVERY)
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_it_is_the_deviation_of_the_dynamic_parts_of_the_frames(options, backend):
    x = walk(3, 8, 16)
    each = koopman_split(put(x, backend), 0.5, pool="none", backend=backend, **options)
    pooled = koopman_split(put(x, backend), 0.5, pool="std", backend=backend, **options)
    close(pooled.dynamic, each.dynamic.std(1, correction=0))
    close(pooled.static, each.static.mean(1))


@pytest.mark.parametrize("backend", FAST)
@pytest.mark.parametrize("phase", [0.4, 1.9, 4.0])
def test_the_phase_of_an_oscillation_changes_nothing(phase, backend):
    """Over whole periods. The mean of Eq. 21 is zero there, whatever the phase is."""
    options = {"mask": "hard", "ridge": 0.0, "weights": "projector"}
    close(
        spread(oscillation(phase), backend, 0.3, **options), spread(oscillation(0), backend, 0.3, **options)
    )
    g = torch.Generator().manual_seed(3)
    _, a, b = torch.randn(3, 20, generator=g, dtype=torch.float64)
    close(spread(oscillation(phase), backend, 0.3, **options)[0], ((a.square() + b.square()) / 2).sqrt())
    mean = paper_split(put(oscillation(phase), backend), 0.3, weights="projector", backend=backend).dynamic
    assert mean.abs().max() < 1e-10


@pytest.mark.parametrize("backend", FAST)
@pytest.mark.parametrize(
    "options", [{"mask": "smooth", "ridge": 0.01}, {"mask": "hard", "ridge": 0.0}], ids=str
)
def test_a_still_part_that_is_added_moves_it_little_or_not_at_all(options, backend):
    x = oscillation(0.3)
    more = x + 2.0 * x.mean(1, keepdim=True)
    options = {**options, "weights": "projector"}
    tolerance = 1e-9 if options["mask"] == "hard" else 0.05
    close(spread(more, backend, 0.3, **options), spread(x, backend, 0.3, **options), tolerance)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("backend", FAST)
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_a_still_clip_has_exactly_none_and_a_gradient_of_zero(options, backend, dtype):
    frame = put(walk(3, 3, 16)[:, :1].to(dtype), backend)
    x = frame.expand(-1, 7, -1).clone().requires_grad_()
    split = koopman_split(x, 0.5, pool="std", backend=backend, **options)
    assert (split.dynamic == 0).all()
    (split.dynamic.sum()).backward()
    assert (x.grad == 0).all()
    x.grad = None
    split = koopman_split(x, 0.5, pool="std", backend=backend, **options)
    (split.dynamic.sum() + split.static.sum()).backward()
    assert x.grad.isfinite().all()
    assert x.grad.abs().max() > 0


@pytest.mark.parametrize("backend", FAST)
def test_a_feature_that_never_changes_among_moving_ones_has_a_finite_gradient(backend):
    x = walk(2, 8, 16)
    x[..., 3] = 0.0
    leaf = put(x, backend).requires_grad_()
    split = koopman_split(leaf, pool="std", backend=backend)
    assert (split.dynamic[:, 3] == 0).all()
    split.dynamic.sum().backward()
    assert leaf.grad.isfinite().all()


@pytest.mark.parametrize("backend", FAST)
def test_time_reversal_of_an_undamped_motion_changes_nothing(backend):
    x = oscillation(0.7)
    options = {"mask": "hard", "ridge": 0.0, "weights": "projector"}
    close(spread(x.flip(1), backend, 0.3, **options), spread(x, backend, 0.3, **options))


@pytest.mark.parametrize("backend", FAST)
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("scale", [1e-3, 3.0, 1e4])
def test_scaling_the_features_scales_it(scale, options, backend):
    x = walk(3, 8, 16)
    close(spread(scale * x, backend, **options), scale * spread(x, backend, **options), 1e-11)


@pytest.mark.parametrize("backend", FAST)
def test_a_sign_or_a_permutation_of_the_features_goes_through(backend):
    """A rotation does not: the deviation is taken feature by feature. Its energy over all features stays."""
    x, sign = walk(3, 8, 16), torch.randint(0, 2, (16,)) * 2 - 1
    options = {"mask": "smooth", "ridge": 0.01}
    base = spread(x, backend, **options)
    close(spread(x * sign, backend, **options), base, 1e-10)
    close(spread(x.flip(-1), backend, **options), base.flip(-1), 1e-10)
    turned = spread(x @ orthonormal(16), backend, **options)
    close(turned.square().sum(-1), base.square().sum(-1), 1e-10)
    assert (turned - base).abs().max() > 0.01


@pytest.mark.parametrize("backend", FAST)
@pytest.mark.parametrize("frames", [3, 4, 8, 9, 16])
def test_the_gradient_is_the_finite_difference(frames, backend):
    x = put(walk(2, frames, 9), backend).requires_grad_()
    options = {"mask": "smooth", "ridge": 0.01, "weights": "projector", "pool": "std", "backend": backend}

    def value(y: Tensor) -> Tensor:
        split = koopman_split(y, **options)
        weight = torch.linspace(-1, 2, 9, dtype=torch.float64, device=y.device)
        return (split.dynamic * weight).sum() + (split.static * weight.flip(0)).sum()

    (grad,) = torch.autograd.grad(value(x), x)
    g = torch.Generator().manual_seed(0)
    for _ in range(3):
        direction = put(torch.randn(x.shape, generator=g, dtype=torch.float64), backend)
        step = 1e-5
        with torch.no_grad():
            slope = (value(x + step * direction) - value(x - step * direction)) / (2 * step)
        assert (grad * direction).sum().item() == pytest.approx(slope.item(), rel=1e-6, abs=1e-8)
