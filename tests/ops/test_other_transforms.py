"""Sinkhorn, swapped prediction and augmentation under torch.func and in forward mode."""

from __future__ import annotations

import pytest
import torch
from augment_cases import MEAN, STD, case
from torch import Tensor
from torch.autograd import forward_ad
from torch.func import grad, jacfwd, jacrev, jvp, vmap
from transform_cases import FORWARD, REVERSE, SECOND, naming, plain_gradient, random_like, slope

from bodvcl.ops.augment import augment_clips
from bodvcl.ops.sinkhorn import sinkhorn_knopp, swapped_prediction


def scores(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_assignments_are_constants_in_both_modes():
    x = scores(2, 5, 3)
    with forward_ad.dual_level():
        found = sinkhorn_knopp(forward_ad.make_dual(x, torch.ones_like(x)))
        assert forward_ad.unpack_dual(found).tangent is None
    assert (jacfwd(sinkhorn_knopp)(x) == 0).all()
    assert (jacrev(sinkhorn_knopp)(x) == 0).all()


def test_assignments_under_vmap_are_those_of_each_call():
    x = scores(3, 2, 5, 4)
    valid = torch.arange(5).expand(2, 5) != 2
    got = vmap(lambda y: sinkhorn_knopp(y, valid=valid))(x)
    torch.testing.assert_close(got, torch.stack([sinkhorn_knopp(y, valid=valid) for y in x]))


def test_swapped_prediction_is_differentiated_with_fixed_assignments():
    x = scores(2, 1, 3, 4, 5)
    valid = torch.ones(1, 3, 4, dtype=torch.bool)
    valid[0, 1, 2] = False
    held = swapped_prediction_with_targets(x, valid)

    def f(y: Tensor) -> Tensor:
        if y.dim() == 4:
            return swapped_prediction(y, valid=valid)
        return torch.stack([swapped_prediction(one, valid=valid) for one in y])

    torch.testing.assert_close(f(x), held(x))
    u, w = random_like(x), random_like(f(x))
    ways = {n: way for n, way in FORWARD.items() if "vmap(vmap" not in n}
    for name, way in ways.items():
        with naming(name):
            torch.testing.assert_close(way(f, x, u), slope(held, x, u), rtol=1e-6, atol=1e-8)
    for name, way in REVERSE.items():
        if "dimension 1" not in name:
            with naming(name):
                torch.testing.assert_close(way(f, x, w), plain_gradient(f, x, w))
    for name, way in SECOND.items():
        if name == "gradient of the dual":  # PyTorch's log_softmax does not have it and raises
            continue
        with naming(name):
            got = way(lambda y: (f(y) * w).sum(), x, u)
            want = slope(grad(lambda y: (held(y) * w).sum()), x, u)
            torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-7)


def swapped_prediction_with_targets(x: Tensor, valid: Tensor):
    """The loss written out, clip by clip, with the assignments of x whatever it is called with."""
    targets = [[sinkhorn_knopp(view[None], valid=v[None])[0] for view, v in zip(y[0], valid[0])] for y in x]

    def run(y: Tensor) -> Tensor:
        out = []
        for one, target in zip(y, targets):
            log_p = (one[0] / 0.1).log_softmax(-1)
            terms = [
                -(target[a][b] * log_p[p, b]).sum()
                for p in range(3)
                for a in range(3)
                for b in range(4)
                if a != p and valid[0, a, b] and valid[0, p, b]
            ]
            out.append(torch.stack(terms).mean()[None])
        return torch.stack(out)

    return run


@pytest.mark.parametrize("backend", ["torch", "reference"])
@pytest.mark.parametrize("name", ["colour", "sigma"])
def test_a_derivative_of_an_augmentation_is_refused(name, backend):
    clips, params = case()

    def f(x: Tensor) -> Tensor:
        made = params._replace(**{name: x})
        return augment_clips(clips, made, 20, MEAN, STD, radius=3, backend=backend)

    x = getattr(params, name)
    with forward_ad.dual_level(), pytest.raises(RuntimeError, match="no derivative"):
        f(forward_ad.make_dual(x, torch.ones_like(x)))
    for call in (
        lambda: f(x.clone().requires_grad_()),
        lambda: grad(lambda y: f(y).sum())(x),
        lambda: jvp(f, (x,), (x,)),
        lambda: jacfwd(f)(x),
    ):
        with pytest.raises(RuntimeError, match="no derivative"):
            call()
    with torch.no_grad():
        assert torch.equal(f(x.clone().requires_grad_()), f(x))


def test_augmentation_inside_a_transform_of_something_else_is_a_constant():
    clips, params = case()
    made = augment_clips(clips, params, 20, MEAN, STD)
    scale = torch.tensor(2.0)
    got = grad(lambda s: (s * augment_clips(clips, params, 20, MEAN, STD)).sum())(scale)
    torch.testing.assert_close(got, made.sum())


def test_augmentation_under_vmap_says_that_it_takes_the_batch():
    clips, params = case()
    with pytest.raises(RuntimeError, match="whole batch"):
        vmap(lambda c: augment_clips(c, params, 20, MEAN, STD))(clips[None])
