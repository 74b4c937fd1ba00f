"""The Koopman operations as citizens of PyTorch: derivatives, opcheck, compile, autocast, functional call."""

from __future__ import annotations

import shutil

import pytest
import torch
from koopman_cases import (
    CUDA,
    FAST,
    NATIVE,
    close,
    cotangents,
    paper_operator,
    paper_split,
    paper_split_and_loss,
    parts_of,
    put,
    walk,
)
from torch.autograd import gradcheck, gradgradcheck

from bodvcl.ops.koopman import guard_counts
from bodvcl.ops.koopman.projector import disk_sylvester, spectral_projector

pytestmark = pytest.mark.filterwarnings("ignore::bodvcl.ops.koopman.KoopmanWarning")

OPTIONS = [
    {},
    {"weights": "projector"},
    {"mask": "smooth", "smooth_power": 4},
    {"mask": "smooth", "weights": "projector", "ridge": 0.1},
    {"rank": 2, "pool": "none"},
    {"mask": "smooth", "weights": "projector", "ridge": 0.05, "pool": "std"},
    {"pool": "std"},
    {"rank": 2, "mask": "smooth", "smooth_power": 2, "estimator": "tls"},
    {"ridge": 0.1, "weights": "projector"},
]


def near_orthonormal(b: int, t: int, m: int) -> torch.Tensor:
    """Clips (b, t, m) whose frames are far from dependent, so that finite differences are accurate.

    Steps of 1e-5 suit them: with 1e-6 rounding errors of some CPUs are 4e-7 of a slope.
    """
    g = torch.Generator().manual_seed(0)
    x = torch.linalg.qr(torch.randn(b, max(t, m), max(t, m), dtype=torch.float64, generator=g))[0][:, :t, :m]
    mix = torch.eye(t, dtype=torch.float64) + 0.4 * torch.diag(torch.ones(t - 1, dtype=torch.float64), -1)
    return mix @ x


def outputs(backend, **options):
    def run(x):
        split, losses = paper_split_and_loss(x, 0.7, backend=backend, **options)
        return split.static, split.dynamic, *parts_of(losses)

    return run


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("shape", [(4, 5), (6, 3)], ids=str)
def test_first_and_second_derivatives_pass_gradcheck(shape, options):
    x = near_orthonormal(2, *shape).requires_grad_()
    run = outputs("torch", **options)
    assert gradcheck(run, x, eps=1e-5, rtol=1e-5, atol=1e-7)
    # along random directions: every column of the second derivative takes minutes, and the tests of the
    # transforms compare whole ones
    assert gradgradcheck(run, x, eps=1e-5, rtol=1e-4, atol=1e-6, fast_mode=True)


@pytest.mark.parametrize("options", [o for o in OPTIONS if "estimator" not in o], ids=str)
@pytest.mark.parametrize("backend", [NATIVE])
def test_native_first_derivative_passes_gradcheck(backend, options):
    x = near_orthonormal(2, 5, 7).requires_grad_()
    assert gradcheck(outputs(backend, **options), x, eps=1e-5, rtol=1e-5, atol=1e-7)


def test_second_derivative_exists_with_truncation_and_padding():
    x = walk(2, 7, 9)
    mask = torch.ones(2, 7, dtype=torch.bool)
    mask[1, 5:] = False

    def grad_norm(y):
        split, losses = paper_split_and_loss(y, 0.5, rank=3, frame_mask=mask, backend="torch")
        total = split.static.square().sum() + losses.loo.sum() + losses.orth_excess.sum()
        return torch.autograd.grad(total, y, create_graph=True)[0]

    leaf = x.clone().requires_grad_()
    direction = torch.where(mask[..., None], walk(2, 7, 9, seed=4, step=1.0), 0.0)
    hvp = torch.autograd.grad(grad_norm(leaf), leaf, direction)[0]
    h = 1e-6
    slope = (
        grad_norm((x + h * direction).requires_grad_()) - grad_norm((x - h * direction).requires_grad_())
    ) / (2 * h)
    close(hvp, slope, 1e-6)


@pytest.mark.parametrize("backend", [NATIVE])
def test_a_second_derivative_of_the_native_operation_says_what_to_do(backend):
    x = walk(2, 6, 8).requires_grad_()
    split = paper_split(x, 0.5, backend=backend)
    grad = torch.autograd.grad(split.static.square().sum(), x, create_graph=True)[0]
    with pytest.raises(RuntimeError, match="backend='torch'"):
        grad.square().sum().backward()


@pytest.mark.parametrize("smooth", [False, True])
@pytest.mark.parametrize("backend", [NATIVE, CUDA])
def test_opcheck_of_the_native_operator(backend, smooth):
    x = put(walk(3, 6, 8), backend).requires_grad_()
    frames = torch.ones(3, 6, dtype=torch.bool, device=x.device)
    frames[0, 4:] = False
    for frame_mask, pool in ((None, 0), (frames, 1), (frames, 2)):
        args = (x, frame_mask, 0.5, smooth, 2, False, 1e-7, 0.0, 0, pool, 10.0)
        torch.library.opcheck(torch.ops.bodvcl.koopman.default, args)


def test_opcheck_of_the_helpers():
    a = walk(3, 5, 5).requires_grad_()
    keep = torch.ones(3, 5, dtype=torch.float64)
    torch.library.opcheck(torch.ops.bodvcl.spectral_projector.default, (a, keep, 0.5))
    inside, outside = 0.3 * torch.eye(4).double()[None], 2 * torch.eye(4).double()[None]
    rhs = walk(1, 4, 4).requires_grad_()
    torch.library.opcheck(
        torch.ops.bodvcl.disk_sylvester.default, (inside.requires_grad_(), outside.requires_grad_(), rhs)
    )
    torch.library.opcheck(
        torch.ops.bodvcl.koopman_guard.default, (walk(3, 5, 4), torch.ones(3).double(), 2.0)
    )


def test_the_disk_sylvester_solution_solves_its_equation():
    g = torch.Generator().manual_seed(0)
    q = torch.randn(5, 6, 6, dtype=torch.float64, generator=g)
    inside, outside = (
        0.9 * q / torch.linalg.matrix_norm(q, 2)[:, None, None],
        torch.eye(6).double() * 1.1 + 0.01 * q,
    )
    rhs = walk(5, 6, 6)
    y = disk_sylvester(inside, outside, rhs)
    close(inside @ y - y @ outside, rhs, 1e-12)


@pytest.mark.parametrize("backend", ["torch", NATIVE])
@pytest.mark.parametrize(
    "options", [{}, {"mask": "smooth", "ridge": 0.01, "max_gain": 5.0}, {"weights": "projector"}], ids=str
)
def test_compiles_without_graph_breaks_and_agrees(options, backend):
    def step(x):
        split, losses = paper_split_and_loss(x, 0.5, mode="loo", backend=backend, **options)
        return split.static.square().sum() + split.dynamic.sum() + losses.pred

    x = walk(4, 7, 12)
    values, grads = [], []
    for fn in (step, torch.compile(step, fullgraph=True, backend="aot_eager")):
        y = x.clone().requires_grad_()
        value = fn(y)
        value.backward()
        values.append(value.detach())
        grads.append(y.grad)
    close(values[1], values[0], 1e-12)
    close(grads[1], grads[0], 1e-10)


@pytest.mark.parametrize("backend", ["auto", "torch"])
def test_compiles_with_sizes_left_open_and_a_frame_mask(backend):
    def step(x, valid):
        split, losses = paper_split_and_loss(
            x, mask="smooth", ridge=0.01, mode="train", frame_mask=valid, backend=backend
        )
        return split.static, losses.pred

    compiled = torch.compile(step, fullgraph=True, backend="aot_eager", dynamic=True)
    for b in (3, 5):
        x = walk(b, 7, 12)
        valid = torch.arange(7) < torch.tensor([7, 5, 4, 3, 6])[:b, None]
        for got, want in zip(compiled(x, valid), step(x, valid)):
            close(got, want, 1e-12)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
@pytest.mark.parametrize("backend", ["torch", NATIVE])
def test_compiles_through_inductor(backend):
    def step(x):
        split, losses = paper_split_and_loss(x, mask="smooth", ridge=0.01, mode="loo", backend=backend)
        return split.static.square().sum() + losses.pred

    x = walk(4, 7, 12)
    results = []
    for fn in (step, torch.compile(step, fullgraph=True)):
        y = x.clone().requires_grad_()
        fn(y).backward()
        results.append(y.grad)
    close(results[1], results[0], 1e-9)


@pytest.mark.parametrize("backend", FAST)
def test_autocast_changes_nothing(backend):
    x = put(walk(3, 8, 32).float(), backend)
    device = x.device.type
    results = []
    for enabled in (False, True):
        y = x.clone().requires_grad_()
        with torch.autocast(device, dtype=torch.bfloat16, enabled=enabled):
            split, losses = paper_split_and_loss(y, 0.5, mode="loo", backend=backend)
            assert split.static.dtype == torch.float32
            (split.static.sum() + losses.pred).backward()
        results.append((split.static, losses.pred, y.grad))
    for a, b in zip(*results):
        assert torch.equal(a, b)


@pytest.mark.parametrize("backend", ["torch", NATIVE])
def test_works_in_a_functional_call(backend):
    layer = torch.nn.Linear(6, 12, dtype=torch.float64)
    x = walk(3, 7, 6)

    class Head(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = layer

        def forward(self, frames):
            split, losses = paper_split_and_loss(self.layer(frames), 0.5, mode="loo", backend=backend)
            return split.static.square().mean() + losses.pred

    head = Head()
    params = {k: v.detach().clone().requires_grad_() for k, v in head.named_parameters()}
    value = torch.func.functional_call(head, params, (x,))
    grads = torch.autograd.grad(value, list(params.values()))
    head(x).backward()
    for a, b in zip(grads, head.parameters()):
        close(a, b.grad, 1e-12)


@pytest.mark.parametrize("backend", FAST)
def test_two_runs_are_bitwise_equal(backend):
    x = put(walk(9, 8, 48).float(), backend)
    results = []
    for _ in range(2):
        y = x.clone().requires_grad_()
        split, losses = paper_split_and_loss(y, 0.5, mode="loo", backend=backend)
        (split.static.sum() + losses.pred).backward()
        results.append((split.static, split.dynamic, losses.pred, y.grad))
    for a, b in zip(*results):
        assert torch.equal(a, b)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("backend", [NATIVE])
def test_the_number_of_threads_changes_no_bit(backend, threads):
    x = walk(33, 8, 48).float()
    before = torch.get_num_threads()
    expected = paper_split(x, 0.5, backend=backend).static
    try:
        torch.set_num_threads(threads)
        assert torch.equal(paper_split(x, 0.5, backend=backend).static, expected)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("backend", [*FAST, "reference"])
def test_the_gain_guard_scales_the_split_gradient_alone_and_counts(backend):
    x = put(walk(12, 8, 32), backend)
    grads = {}
    for limit in (None, 2.0):
        for part in ("split", "loss", "both"):
            y = x.clone().requires_grad_()
            guard_counts(reset=True)
            split, losses = paper_split_and_loss(y, 0.5, mode="loo", max_gain=limit, backend=backend)
            u, v = cotangents(split.static, split.dynamic)
            both = (split.static * u).sum() + (split.dynamic * v).sum()
            {"split": both, "loss": losses.pred, "both": both + losses.pred}[part].backward()
            grads[limit, part] = y.grad
            seen = guard_counts(reset=True)
            assert seen.clips == (12 if limit and part != "loss" else 0)
            if part == "split":
                counts = seen
    size = (u.square().sum(1) + v.square().sum(1)).sqrt()
    gain = 8**0.5 * grads[None, "split"].flatten(1).norm(dim=1) / size
    assert counts == (12, int((gain > 2).sum()))
    assert 0 < counts.guarded < 12
    close(grads[2.0, "split"], grads[None, "split"] * (2 / gain).clamp(max=1)[:, None, None], 1e-10)
    close(grads[2.0, "loss"], grads[None, "loss"], 1e-10)
    close(grads[2.0, "both"], grads[2.0, "split"] + grads[None, "loss"], 1e-10)


@pytest.mark.parametrize("backend", FAST)
@pytest.mark.parametrize(("limit", "guarded"), [(0.7, 3), (0.71, 0)])
def test_a_plain_temporal_mean_has_gain_one(limit, guarded, backend):
    """With projector weights the streams add up to mean(F): one cotangent for both has gain 1 / sqrt(2)."""
    x = put(walk(3, 6, 8), backend).requires_grad_()
    guard_counts(reset=True)
    split = paper_split(x, 0.5, weights="projector", max_gain=limit, backend=backend)
    u = cotangents(split.static)[0]
    torch.autograd.backward((split.static, split.dynamic), (u, u))
    assert guard_counts(reset=True) == (3, guarded)


def test_operator_factors_are_differentiable():
    x = near_orthonormal(2, 4, 6).requires_grad_()
    assert gradcheck(lambda y: paper_operator(y, rank=2).dense(), x, rtol=1e-5, atol=1e-7)


def test_the_projector_helper_is_callable_on_an_empty_batch():
    p, residual, radius = spectral_projector(torch.zeros(0, 3, 3).double(), torch.zeros(0, 3).double(), 0.1)
    assert p.shape == (0, 3, 3)
    assert residual.shape == radius.shape == (0,)
