"""Which backend serves a call of the Koopman operations."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch

from bodvcl.ops import native
from bodvcl.ops.backend import always, choose, explain

NATIVE_DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
MAX_FRAMES = 64
MIN_WIDTH, MAX_WIDTH = 4, 1024


class KoopmanRequest(NamedTuple):
    """What decides whether a backend can serve a call: type of device, dtype, T, M and the estimator."""

    device: str
    dtype: torch.dtype
    frames: int
    width: int
    estimator: str = "ls"


def _why_not_native(device: str, request: KoopmanRequest) -> str:
    if request.device != device:
        return f"the features are on {request.device}"
    available = native.cpu_available() if device == "cpu" else native.cuda_available()
    if not available:
        return f"the native library is not there ({native.why_not(device)})"
    if request.estimator != "ls":
        return f"estimator={request.estimator!r} is served by the PyTorch route only"
    if request.dtype not in NATIVE_DTYPES:
        return f"dtype {request.dtype} is not one of float64, float32, float16, bfloat16"
    if request.frames > MAX_FRAMES:
        return f"{request.frames} frames per clip, at most {MAX_FRAMES} are supported"
    if not MIN_WIDTH <= request.width <= MAX_WIDTH:
        return f"feature width {request.width} is outside {MIN_WIDTH}..{MAX_WIDTH}"
    return ""


def why_not_cuda(request: KoopmanRequest) -> str:
    """Why the native CUDA operator cannot serve ``request``; "" where it can."""
    return _why_not_native("cuda", request)


def why_not_cpu(request: KoopmanRequest) -> str:
    """Why the native CPU operator cannot serve ``request``; "" where it can."""
    return _why_not_native("cpu", request)


def why_not_reference(request: KoopmanRequest) -> str:
    """Why the paper's formulas cannot serve ``request``; "" where they can."""
    return "" if request.estimator == "ls" else f"estimator={request.estimator!r} is not in the paper"


WHY_NOT: dict[str, Callable[[KoopmanRequest], str]] = {
    "cuda": why_not_cuda,
    "cpu": why_not_cpu,
    "torch": always,
    "reference": why_not_reference,
}


def _best(request: KoopmanRequest) -> str:
    return next(name for name, why_not in WHY_NOT.items() if not why_not(request))


def choose_koopman(backend: str, request: KoopmanRequest) -> str:
    """The backend that serves ``request``: "cuda", "cpu", "torch" or "reference". Raises as `choose` does."""
    return choose(backend, request, WHY_NOT, _best)


def explain_koopman(device: str) -> dict[str, str]:
    """The backend for an ordinary call on ``device`` ("cpu" or "cuda"), and why not the other native ones."""
    request = KoopmanRequest(device, torch.float32, frames=8, width=128)
    return explain(request, WHY_NOT, _best, fast=("cuda", "cpu"))
