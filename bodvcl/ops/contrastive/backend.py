"""Which backend serves a call of the contrastive operations."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch

from bodvcl.ops.backend import always, choose, explain, why_not_triton

TRITON_MAX_WIDTH = 256
SMALL_LOGITS = {"cpu": 2**15, "cuda": 2**17}
"""Logits (streams x queries x keys) up to which the matrix is simply written: ``bench/test_contrastive.py``.
The value for "cpu" was measured; that for "cuda" is a choice.
"""


class ContrastiveRequest(NamedTuple):
    """What decides which backend serves a call: type of device, dtype, and H, N, K + Q and D."""

    device: str
    dtype: torch.dtype
    streams: int
    queries: int
    keys: int
    width: int


def why_not_kernels(request: ContrastiveRequest) -> str:
    """Why the fused Triton kernels cannot serve ``request``; "" where they can."""
    reason = why_not_triton(request.device, request.dtype, "embeddings")
    if not reason and request.width > TRITON_MAX_WIDTH:
        return f"width {request.width}, at most {TRITON_MAX_WIDTH} is supported"
    return reason


WHY_NOT: dict[str, Callable[[ContrastiveRequest], str]] = {
    "triton": why_not_kernels,
    "chunked": always,
    "torch": always,
    "reference": always,
}


def _best(request: ContrastiveRequest) -> str:
    if request.streams * request.queries * request.keys <= SMALL_LOGITS.get(request.device, 0):
        return "torch"
    return "triton" if request.device == "cuda" and not why_not_kernels(request) else "chunked"


def choose_contrastive(backend: str, request: ContrastiveRequest) -> str:
    """The backend that serves ``request``: "triton", "chunked" or "torch". Raises as `choose` does.

    "reference" is "torch", which writes the matrix as the formula has it.
    """
    chosen = choose(backend, request, WHY_NOT, _best)
    return "torch" if chosen == "reference" else chosen


def explain_contrastive(device: str) -> dict[str, str]:
    """The backend for a large call on ``device`` ("cpu" or "cuda"), and why not the kernels."""
    request = ContrastiveRequest(device, torch.float32, streams=2, queries=1024, keys=1024, width=128)
    return explain(request, WHY_NOT, _best, fast=("triton",))
