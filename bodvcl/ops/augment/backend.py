"""Which backend augments a batch of clips, and which mixes their scenes."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch

from bodvcl.ops.backend import always, choose, explain, why_not_triton

MAX_RADIUS = 24
"""Widest blur of the fused kernel: it leaves 16 x 16 pixels of a tile of 64 x 64."""


class AugmentRequest(NamedTuple):
    """What decides which backend serves a call: type of device, dtype of the result, radius of the blur."""

    device: str
    dtype: torch.dtype
    radius: int


def why_not_kernel(request: AugmentRequest) -> str:
    """Why the fused Triton kernel cannot serve ``request``; "" where it can."""
    reason = why_not_triton(request.device, request.dtype, "clips")
    if not reason and request.radius > MAX_RADIUS:
        return f"a blur of {request.radius} pixels to each side, at most {MAX_RADIUS} are supported"
    return reason


WHY_NOT: dict[str, Callable[[AugmentRequest], str]] = {
    "triton": why_not_kernel,
    "torch": always,
    "reference": always,
}


def _best(request: AugmentRequest) -> str:
    return "triton" if request.device == "cuda" and not why_not_kernel(request) else "torch"


def choose_augment(backend: str, request: AugmentRequest) -> str:
    """The backend that serves ``request``: "triton", "torch" or "reference". Raises as `choose` does."""
    return choose(backend, request, WHY_NOT, _best)


class MixRequest(NamedTuple):
    """What decides which backend mixes scenes: type of device, dtype of the clips and of the result."""

    device: str
    dtype: torch.dtype
    result: torch.dtype


def _why_not_mixing_kernels(request: MixRequest) -> str:
    return why_not_triton(request.device, request.dtype, "clips") or why_not_triton(
        request.device, request.result, "dtype"
    )


WHY_NOT_MIX: dict[str, Callable[[MixRequest], str]] = {
    "triton": _why_not_mixing_kernels,
    "torch": always,
    "reference": always,
}


def choose_mix(backend: str, request: MixRequest) -> str:
    """The backend that serves ``request``: "triton", "torch" or "reference". Raises as `choose` does."""
    return choose(backend, request, WHY_NOT_MIX, _best_mix)


def _best_mix(request: MixRequest) -> str:
    return "triton" if request.device == "cuda" and not WHY_NOT_MIX["triton"](request) else "torch"


def explain_augment(device: str) -> dict[str, str]:
    """The backend for an ordinary call on ``device`` ("cpu" or "cuda"), and why not the kernel."""
    request = AugmentRequest(device, torch.float32, radius=6)
    return explain(request, WHY_NOT, _best, fast=("triton",))
