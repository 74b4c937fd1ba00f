"""Koopman split and L_pred of float32 clips: native, PyTorch route and the paper's formulas.

Equality is asserted before anything is timed. The default grid takes under a minute on two cores;
``BODVCL_BENCH_FULL=1`` runs all sizes. Every entry carries the bytes that an ideal implementation has to move
(features, streams and their gradients, once each) and its share of the bandwidth of a plain copy in the same
run. Times are the best of the rounds: what else runs on a machine only ever adds to them.
"""

from __future__ import annotations

import itertools
import os
import time

import pytest
import torch
from torch import Tensor

from bodvcl.ops import native as _native
from bodvcl.ops.koopman import koopman_split_and_loss
from bodvcl.reference import koopman as reference

XI, NU, RTOL = 0.1, 1e-4, 1e-4
FULL = os.environ.get("BODVCL_BENCH_FULL") == "1"
DEFAULT_GRID = [(64, 128, 8), (64, 128, 32), (1024, 128, 8), (64, 32, 16)]
FULL_GRID = list(itertools.product((16, 64, 256, 1024, 4096), (16, 64, 128, 512), (4, 8, 16, 32)))
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
NATIVE = _native.cuda_available() if DEVICE == "cuda" else _native.cpu_available()
LARGEST_REFERENCE = 256 * 128**3
"""Clips times M^3 beyond which the paper's formulas are left out: seconds per call."""


def make_clips(b: int, t: int, m: int) -> Tensor:
    g = torch.Generator().manual_seed(0)
    start = torch.randn(b, 1, m, generator=g)
    return (start + 0.3 * torch.randn(b, t, m, generator=g).cumsum(1)).to(DEVICE)


def paper(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Eqs. 18, 19 and 21 in the dtype of x: pinv, eig and the inverse of the eigenvectors."""
    f = x.mT
    past, future = f[..., :-1], f[..., 1:]
    k = future @ torch.linalg.pinv(past, rtol=RTOL)
    k_static, k_dynamic = reference.spectral_parts(k, XI)
    mean = f.mean(-1, keepdim=True)
    loss = (future - k @ past).square().mean((-2, -1)) + NU * reference.orthogonality(k)
    return (k_static @ mean)[..., 0], (k_dynamic @ mean)[..., 0], loss.mean()


def fused(backend: str):
    def run(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        split, losses = koopman_split_and_loss(
            x, XI, mask="hard", mode="train", nu=NU, ridge=0.0, rtol=RTOL, backend=backend
        )
        return split.static, split.dynamic, losses.pred

    return run


ROUTES = {"native": fused("auto"), "torch": fused("torch"), "paper": paper}


def forward_backward(run, x: Tensor) -> tuple[Tensor, ...]:
    static, dynamic, loss = run(x)
    ones = torch.ones_like(static)
    return (
        static,
        dynamic,
        torch.autograd.grad((static, dynamic, loss), x, (ones, -ones, torch.ones_like(loss)))[0],
    )


def assert_equal(run, x: Tensor) -> None:
    """Streams and gradient of the first clips against the paper's formulas in float64."""
    few = x[:4].detach()
    got = forward_backward(run, few.clone().requires_grad_())
    want = forward_backward(paper, few.double().requires_grad_())
    eager = forward_backward(paper, few.clone().requires_grad_())
    for a, b, c in zip(got, want, eager):
        error, allowed = (a - b).norm(), (c - b).norm()
        assert error <= 2 * allowed + 1e-5 * b.norm(), (
            f"{error:.2e}, eager float32 {allowed:.2e}, size {b.norm():.2e}"
        )


@pytest.fixture(scope="session")
def copy_bandwidth() -> float:
    """Bytes per second that a plain copy moves, read and written, best of ten; 256 MiB each way."""
    x = torch.ones(2**26, device=DEVICE)
    y = torch.empty_like(x)
    best = float("inf")
    for _ in range(10):
        wait()
        start = time.perf_counter()
        y.copy_(x)
        wait()
        best = min(best, time.perf_counter() - start)
    return 2 * x.numel() * x.element_size() / best


def wait() -> None:
    if DEVICE == "cuda":
        torch.cuda.synchronize()


@pytest.mark.filterwarnings("ignore::bodvcl.ops.koopman.KoopmanWarning")
@pytest.mark.parametrize("route", list(ROUTES))
@pytest.mark.parametrize("backward", [False, True], ids=["forward", "forward+backward"])
@pytest.mark.parametrize(("b", "m", "t"), FULL_GRID if FULL else DEFAULT_GRID)
def test_koopman(benchmark, copy_bandwidth, b, m, t, backward, route):
    if route == "native" and not NATIVE:
        pytest.skip(_native.why_not(DEVICE))
    if route == "paper" and b * m**3 > LARGEST_REFERENCE:
        pytest.skip("the paper's formulas take too long at this size")
    x = make_clips(b, t, m)
    run = ROUTES[route]
    if route != "paper":
        assert_equal(run, x)

    if backward:
        x.requires_grad_()

    def call() -> None:
        forward_backward(run, x) if backward else run(x)
        wait()

    benchmark.group = f"koopman {'forward+backward' if backward else 'forward'} B={b} M={m} T={t}"
    call()
    start = time.perf_counter()
    call()
    once = time.perf_counter() - start
    benchmark.pedantic(call, warmup_rounds=1, rounds=max(3, min(200, int(0.5 / once))))
    if benchmark.disabled:  # by --benchmark-disable: results are compared, nothing is timed
        return
    moved = 4 * b * m * (t + 2 + (2 * t + 2 if backward else 0))
    seconds = benchmark.stats.stats.min
    benchmark.extra_info |= {
        "route": route,
        "device": DEVICE,
        "backward": backward,
        "B": b,
        "M": m,
        "T": t,
        "bytes": moved,
        "copy_gb_per_s": copy_bandwidth / 1e9,
        "share_of_copy": moved / seconds / copy_bandwidth,
        "threads": torch.get_num_threads(),
    }
