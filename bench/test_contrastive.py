"""InfoNCE of two streams, forward and backward: fused, blocked, eager, and a route built on SDPA.

Equality is asserted before anything is timed: loss and gradients of every route against float64, at most
twice as wrong as eager PyTorch. Every entry carries its roofline (floating-point operations of the products
and the bytes of queries, keys, queue and gradients, once each) and its memory: the peak on a GPU, the largest
tensor on a CPU. On a GPU times come from CUDA events as well. ``BODVCL_BENCH_FULL=1`` runs every size on any
device. ``speedup_over_<route>`` compares with eager PyTorch and with SDPA in this run.

``test_crossover`` is where the router's threshold comes from: above it ``ratio_eager_to_fused`` exceeds 1.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable

import pytest
import torch
from ceilings import copy_bandwidth, product_rate, roofline
from timing import gpu_times
from torch import Tensor
from torch.nn.functional import normalize, scaled_dot_product_attention
from torch.utils._python_dispatch import TorchDispatchMode

from bodvcl.ops.contrastive import info_nce
from bodvcl.ops.contrastive.backend import SMALL_LOGITS

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
FULL = os.environ.get("BODVCL_BENCH_FULL") == "1"
H, D, TAU = 2, 128, 0.1
GPU_GRID = [
    (torch.float32, 4096, 4096, 0),
    (torch.float32, 512, 512, 65536),
    (torch.float32, 16384, 16384, 0),
    (torch.bfloat16, 4096, 4096, 0),
    (torch.float32, 256, 256, 0),
]
CPU_GRID = [(torch.float32, *size) for size in ((256, 256, 0), (1024, 1024, 0), (256, 256, 8192))]
GRID = GPU_GRID if FULL or DEVICE == "cuda" else CPU_GRID
"""Dtype and (N, K, Q), the most important first: in-batch keys want a gradient unless there is a queue."""
PASSES = {torch.float32: (3, "tf32"), torch.bfloat16: (1, "bf16")}
"""How often the matrix units go over a product in the default precision, and as what."""

Inputs = tuple[Tensor, Tensor, Tensor | None]


def make(n: int, k: int, q: int, dtype: torch.dtype = torch.float32) -> Inputs:
    g = torch.Generator().manual_seed(0)
    query, keys, queue = (torch.randn(H, rows, D, generator=g).to(DEVICE, dtype) for rows in (n, k, q))
    return query.requires_grad_(), keys.requires_grad_(q == 0), queue if q else None


def route(backend: str) -> Callable[[Inputs], tuple[Tensor, ...]]:
    def run(inputs: Inputs) -> tuple[Tensor, ...]:
        query, keys, queue = inputs
        ids = torch.arange(query.shape[1], device=query.device)
        loss = info_nce(
            query, keys, query_video=ids, key_video=ids, queue=queue, temperature=TAU, backend=backend,
            check_finite=False,
        )  # fmt: skip
        wanted = [x for x in (query, keys) if x.requires_grad]
        return loss.detach(), *torch.autograd.grad(loss.sum(), wanted)

    return run


def attend(query: Tensor, keys: Tensor) -> tuple[Tensor, Tensor]:
    """Attention of unit vectors with values that are keys, and its log-sum-exp."""
    q, k, scale = query[None], keys[None], 1 / TAU
    if query.device.type == "cpu":
        op = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
        out, lse = op(q, k, k, scale=scale)
    elif query.dtype == torch.float32:
        op = torch.ops.aten._scaled_dot_product_efficient_attention
        out, lse, *_ = op(q, k, k, None, True, scale=scale)
    else:
        op = torch.ops.aten._scaled_dot_product_flash_attention
        out, lse, *_ = op(q, k, k, scale=scale)
    return out[0], lse[0, :, : query.shape[1]]


def sdpa(inputs: Inputs) -> tuple[Tensor, ...]:
    """The same losses and gradients from attention kernels: InfoNCE is attention, keys as values."""
    query, keys, queue = inputs
    rows = query.shape[1]
    unit_q, unit_k = normalize(query, dim=-1), normalize(keys, dim=-1)
    with torch.no_grad():
        q, k = unit_q.detach(), unit_k.detach()
        every = k if queue is None else torch.cat((k, normalize(queue, dim=-1)), 1)
        mean, lse = attend(q, every)
        loss = (lse - (q * k).sum(-1) / TAU).mean(-1)
        grad_q = (mean - k) / (TAU * rows)
    if not keys.requires_grad:
        return loss, *torch.autograd.grad(unit_q, query, grad_q)
    values = k.clone().requires_grad_()
    attended = scaled_dot_product_attention(q[None], k[None], values[None], scale=1 / TAU)[0]
    (spread,) = torch.autograd.grad(attended, values, q)
    grad_k = (spread - q) / (TAU * rows)
    return loss, *torch.autograd.grad((unit_q, unit_k), (query, keys), (grad_q, grad_k))


ROUTES: dict[str, Callable[[Inputs], tuple[Tensor, ...]]] = {
    **({"triton": route("triton")} if DEVICE == "cuda" else {}),
    "chunked": route("chunked"),
    "eager": route("torch"),
    "sdpa": sdpa,
}


def assert_equal(
    run: Callable[[Inputs], tuple[Tensor, ...]], dtype: torch.dtype, n: int, k: int, q: int
) -> None:
    """At most twice as wrong as eager in this dtype, at the size of the benchmark up to 2,048 rows."""
    size = min(n, 2048), min(k, 2048), min(q, 8192)
    clips = make(*size, dtype)
    wide = tuple(x if x is None else x.detach().double().requires_grad_(x.requires_grad) for x in clips)
    exact = ROUTES["eager"](wide)
    for got, want, eager in zip(run(clips), exact, ROUTES["eager"](make(*size, dtype))):
        error, allowed = (got - want).norm(), (eager - want).norm()
        assert error <= 2 * allowed + 2e-6 * want.norm(), f"{error:.2e}, eager {allowed:.2e}"


class _Largest(TorchDispatchMode):
    """Bytes of the largest tensor that any operation returned."""

    bytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for x in out if isinstance(out, tuple) else (out,):
            if isinstance(x, Tensor):
                self.bytes = max(self.bytes, x.numel() * x.element_size())
        return out


def memory(call: Callable[[], object]) -> dict[str, int]:
    if DEVICE == "cpu":
        with _Largest() as watch:
            call()
        return {"largest_tensor_bytes": watch.bytes}
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    call()
    torch.cuda.synchronize()
    return {"peak_bytes": torch.cuda.max_memory_allocated() - before}


@pytest.mark.parametrize("name", list(ROUTES))
@pytest.mark.parametrize(("dtype", "n", "k", "q"), GRID)
def test_info_nce(benchmark, dtype, n, k, q, name):
    run = ROUTES[name]
    assert_equal(run, dtype, n, k, q)
    inputs = make(n, k, q, dtype)

    def call() -> None:
        run(inputs)
        if DEVICE == "cuda":
            torch.cuda.synchronize()

    benchmark.group = f"info_nce forward+backward {dtype} H={H} N={n} K={k} Q={q} D={D}"
    call()
    start = time.perf_counter()
    call()
    once = time.perf_counter() - start
    benchmark.pedantic(call, warmup_rounds=1, rounds=max(5, min(100, int(0.7 / once))))
    if benchmark.disabled:  # by --benchmark-disable: results are compared, nothing is timed
        return
    products = 4 * H * n * (k + q) * D + (4 * H * n * k * D if q == 0 else 0)
    moved = dtype.itemsize * H * D * (2 * n + (2 * k if q == 0 else k) + q)
    benchmark.extra_info |= {
        "route": name,
        "device": DEVICE,
        "threads": torch.get_num_threads(),
        "H": H, "N": n, "K": k, "Q": q, "D": D,
        "flops": products,
        "bytes": moved,
        "flops_per_s_median": products / benchmark.stats.stats.median,
        **memory(call),
        **(on_gpu(lambda: run(inputs), dtype, products, moved) if DEVICE == "cuda" else {}),
    }  # fmt: skip


def on_gpu(
    call: Callable[[], object], dtype: torch.dtype, products: int, moved: int
) -> dict[str, float | str]:
    """Times on the device, and the time that no kernel beats which multiplies in the default precision."""
    times, kind = PASSES[dtype]
    device = torch.device("cuda")
    least = roofline(moved, times * products, copy_bandwidth(device), product_rate(device, kind))
    found = gpu_times(call)
    best = found["graph_s"] if isinstance(found["graph_s"], float) else found["event_s"]
    return found | {"roofline_s": least, "share_of_roofline": least / best}


@pytest.mark.parametrize("n", [64, 128, 192, 256, 384, *([512, 1024] if DEVICE == "cuda" else [])])
def test_crossover(benchmark, n):
    """Eager and fused (blocked on a CPU) in turns, to place `SMALL_LOGITS`; the time kept is the fused."""
    fused = ROUTES["triton" if DEVICE == "cuda" else "chunked"]
    assert_equal(fused, torch.float32, n, n, 0)
    inputs = make(n, n, 0)
    times: dict[str, list[float]] = {"eager": [], "fused": []}
    for _ in range(11):
        for name, run in (("eager", ROUTES["eager"]), ("fused", fused)):
            start = time.perf_counter()
            run(inputs)
            if DEVICE == "cuda":
                torch.cuda.synchronize()
            times[name].append(time.perf_counter() - start)
    benchmark.group = "info_nce crossover"
    benchmark.pedantic(lambda: fused(inputs), rounds=5)
    median = {name: statistics.median(values[1:]) for name, values in times.items()}
    benchmark.extra_info |= {
        "device": DEVICE,
        "logits": H * n * n,
        "threshold": SMALL_LOGITS[DEVICE],
        "eager_s_median": median["eager"],
        "fused_s_median": median["fused"],
        "ratio_eager_to_fused": median["eager"] / median["fused"],
    }
