"""Koopman split and L_pred of float32 clips: native, PyTorch route and the paper's formulas.

"paper" cases have the paper's settings (hard mask, no ridge), "default" ones those of training (smooth
mask, ridge). Equality is asserted before anything is timed: all clips against the other route in float64,
four against formulas that write K out. The default grid takes under a minute on two idle cores, the most
important sizes first; ``BODVCL_BENCH_FULL=1`` runs all sizes.

Every entry carries the bytes that an ideal implementation has to move (features, streams and their
gradients, once each), the seconds that a plain copy of them takes in the same run, and its share of that. On
a GPU there are times by events, of graph replays and of the kernels alone beside the wall time; the clips
lie in its cache, as those of a training step do.
``speedup_over_<route>`` and ``graph_speedup_over_<route>`` compare with the other routes of the group. Times
are the best of the rounds: what else runs on a machine only ever adds to them.
"""

from __future__ import annotations

import itertools
import os
import time

import pytest
import torch
from ceilings import copy_bandwidth
from timing import gpu_times
from torch import Tensor

from bodvcl.ops import native as _native
from bodvcl.ops.koopman import koopman_split_and_loss
from bodvcl.reference import koopman as reference

XI, NU, RTOL = 0.1, 1e-4, 1e-4
SETTINGS = {
    "default": {"mask": "smooth", "mode": "loo", "ridge": 0.01},
    "paper": {"mask": "hard", "mode": "train", "ridge": 0.0},
}
FULL = os.environ.get("BODVCL_BENCH_FULL") == "1"
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
CPU_GRID = [(64, 128, 8), (64, 128, 32), (256, 128, 8), (64, 32, 16)]
GPU_GRID = [(512, 128, 8), (64, 128, 8), (512, 128, 16), (512, 128, 32), (4096, 128, 8)]
FULL_GRID = list(itertools.product((16, 64, 256, 1024, 4096), (16, 64, 128, 512), (4, 8, 16, 32)))
GRID = FULL_GRID if FULL else GPU_GRID if DEVICE == "cuda" else CPU_GRID
NATIVE = _native.cuda_available() if DEVICE == "cuda" else _native.cpu_available()
LARGEST_REFERENCE = (512 if DEVICE == "cuda" else 64) * 128**3
"""Clips times M^3 beyond which the paper's formulas are left out: seconds per call."""
CASES = [
    (route, settings, backward, *size)
    for size in GRID
    for backward in (True, False)
    for settings in SETTINGS
    for route in ("native", "torch", "paper")
    if route != "paper" or (settings == "paper" and (DEVICE == "cpu" or (backward and size[2] == 8)))
]
CASES.sort(key=lambda case: case[0] == "paper" and DEVICE == "cuda")  # seconds per call: last
IDS = [f"B={b} M={m} T={t}-{s}-{'both' if back else 'forward'}-{r}" for r, s, back, b, m, t in CASES]


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


def route(name: str, settings: str):
    """The function that a case times."""
    if name == "paper":
        return paper
    backend = "auto" if name == "native" else name

    def run(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        split, losses = koopman_split_and_loss(x, XI, nu=NU, rtol=RTOL, backend=backend, **SETTINGS[settings])
        return split.static, split.dynamic, losses.pred

    return run


def forward_backward(run, x: Tensor) -> tuple[Tensor, ...]:
    static, dynamic, loss = run(x)
    ones = torch.ones_like(static)
    return (
        static,
        dynamic,
        torch.autograd.grad((static, dynamic, loss), x, (ones, -ones, torch.ones_like(loss)))[0],
    )


def assert_equal(name: str, settings: str, x: Tensor) -> None:
    """Streams and gradient: all clips against the other route in float64, four against the formulas.

    At most twice as wrong as the same formulas in float32.
    """
    run = route(name, settings)
    formulas = paper if settings == "paper" else route("reference", settings)
    other = "native" if name == "torch" and NATIVE else "torch"  # no route is its own referee
    for referee, clips in ((route(other, settings), x.detach()), (formulas, x[:4].detach())):
        got = forward_backward(run, clips.clone().requires_grad_())
        want = forward_backward(referee, clips.double().requires_grad_())
        eager = forward_backward(referee, clips.clone().requires_grad_())
        for a, b, c in zip(got, want, eager):
            error, allowed = (a - b).norm(), (c - b).norm()
            assert error <= 2 * allowed + 1e-5 * b.norm(), (
                f"{error:.2e}, eager float32 {allowed:.2e}, size {b.norm():.2e}"
            )


def wait() -> None:
    if DEVICE == "cuda":
        torch.cuda.synchronize()


@pytest.mark.filterwarnings("ignore::bodvcl.ops.koopman.KoopmanWarning")
@pytest.mark.parametrize(("name", "settings", "backward", "b", "m", "t"), CASES, ids=IDS)
def test_koopman(benchmark, name, settings, backward, b, m, t):
    if name == "native" and not NATIVE:
        pytest.skip(_native.why_not(DEVICE))
    if name == "paper" and b * m**3 > LARGEST_REFERENCE:
        pytest.skip("the paper's formulas take too long at this size")
    x = make_clips(b, t, m)
    run = route(name, settings)
    if name != "paper":
        assert_equal(name, settings, x)
    if backward:
        x.requires_grad_()

    def work() -> object:
        return forward_backward(run, x) if backward else run(x)

    def call() -> None:
        work()
        wait()

    direction = "forward+backward" if backward else "forward"
    benchmark.group = f"koopman {settings} {direction} B={b} M={m} T={t}"
    call()
    start = time.perf_counter()
    call()
    once = time.perf_counter() - start
    rounds = max(1 if once > 0.5 else 3, min(200, int(0.5 / once)))
    benchmark.pedantic(call, warmup_rounds=int(once <= 0.5), rounds=rounds)
    if benchmark.disabled:  # by --benchmark-disable: results are compared, nothing is timed
        return
    moved = 4 * b * m * (t + 2 + (2 * t + 2 if backward else 0))
    bandwidth = copy_bandwidth(torch.device(DEVICE))
    benchmark.extra_info |= {
        "route": name,
        "settings": settings,
        "device": DEVICE,
        "backward": backward,
        "B": b,
        "M": m,
        "T": t,
        "bytes": moved,
        "copy_gb_per_s": bandwidth / 1e9,
        "roofline_s": moved / bandwidth,
        "threads": torch.get_num_threads(),
        **(gpu_times(work) if once < 0.5 else on_a_clock(once)),
    }
    device_seconds = benchmark.extra_info.get("graph_s")
    best = device_seconds if isinstance(device_seconds, float) else benchmark.stats.stats.min
    benchmark.extra_info["share_of_copy"] = moved / best / bandwidth


def on_a_clock(seconds: float) -> dict[str, float | str]:
    """On a GPU, for a call of half a second and more: what lies between its kernels is no part of that."""
    return {"graph_s": seconds, "graph": "by the clock"} if DEVICE == "cuda" else {}
