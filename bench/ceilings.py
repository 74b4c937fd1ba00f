"""The two ceilings of a device: how fast it moves bytes, and how fast it multiplies matrices.

``python bench/ceilings.py`` prints them as one JSON line. What a kernel has to move or to multiply, divided
by these, is the time that it cannot beat.
"""

from __future__ import annotations

import functools
import itertools
import json
import statistics
import time
from collections.abc import Callable
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

COPY_BYTES = {"cuda": 2**30, "cpu": 2**28}
"""Bytes copied: many times what a cache holds."""
SIDE = {"cuda": 8192, "cpu": 1024}
"""Rows and columns of the multiplied matrices."""
KINDS = {
    "cuda": ("bf16", "tf32", "fp32", "fp64"),
    "cpu": ("fp32",),
}
DTYPES = {"bf16": torch.bfloat16, "tf32": torch.float32, "fp32": torch.float32, "fp64": torch.float64}


def seconds(call: Callable[[], Any], device: torch.device, rounds: int = 10) -> float:
    """Median seconds of a call, after three for warming up: by events on a GPU, by the clock on a CPU."""
    for _ in range(3):
        call()
    if device.type != "cuda":
        found = []
        for _ in range(rounds):
            start = time.perf_counter()
            call()
            found.append(time.perf_counter() - start)
        return statistics.median(found)
    events = [torch.cuda.Event(enable_timing=True) for _ in range(rounds + 1)]
    events[0].record()
    for event in events[1:]:
        call()
        event.record()
    torch.cuda.synchronize(device)
    return statistics.median(a.elapsed_time(b) / 1e3 for a, b in itertools.pairwise(events))


@contextmanager
def _tf32(on: bool):
    was = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = on
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = was


@functools.cache
def copy_bandwidth(device: torch.device) -> float:
    """Bytes per second of a plain copy on the device, those read and those written together."""
    x = torch.randn(COPY_BYTES[device.type] // 4, device=device)
    y = torch.empty_like(x)
    return 2 * x.numel() * 4 / seconds(lambda: y.copy_(x), device)


@functools.cache
def product_rate(device: torch.device, kind: str) -> float:
    """Floating-point operations per second of a product of two random square matrices.

    Args:
        device: where.
        kind: "bf16", "tf32", "fp32" or "fp64".
    """
    n = SIDE[device.type] // (2 if kind == "fp64" else 1)
    a, b = (torch.randn(n, n, device=device).to(DTYPES[kind]) for _ in range(2))
    out: Tensor = torch.empty_like(a)
    with _tf32(kind == "tf32"):
        return 2 * n**3 / seconds(lambda: torch.mm(a, b, out=out), device)


def roofline(moved: float, operations: float, bandwidth: float, rate: float) -> float:
    """Seconds that nobody can beat: for ``moved`` bytes or ``operations``, whichever take longer."""
    return max(moved / bandwidth, operations / rate)


def main() -> None:
    """Measure both ceilings of this machine."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    found = {"copy_gb_per_s": round(copy_bandwidth(device) / 1e9, 1)}
    found |= {
        f"{kind}_tflop_per_s": round(product_rate(device, kind) / 1e12, 2) for kind in KINDS[device.type]
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
