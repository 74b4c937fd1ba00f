"""Inputs shared by the tests of the contrastive operations."""

from __future__ import annotations

import torch
from torch import Tensor

from bodvcl.ops.contrastive import info_nce


def make(h=2, n=12, k=15, q=0, d=8, dtype=torch.float64, seed=0, grad=False) -> tuple[Tensor, Tensor, dict]:
    """Random queries and keys, three rows a video, with a queue if ``q``."""
    g = torch.Generator().manual_seed(seed)

    def random(rows: int) -> Tensor:
        return torch.randn(h, rows, d, generator=g, dtype=torch.float64).to(dtype)

    query, keys = random(n).requires_grad_(grad), random(k).requires_grad_(grad)
    options = {
        "query_video": torch.arange(n) // 3,
        "key_video": torch.arange(k) // 3,
        "query_clip": torch.arange(n),
        "key_clip": torch.arange(k),
        "queue": random(q) if q else None,
    }
    return query, keys, options


def outputs(query: Tensor, keys: Tensor, options: dict, **more) -> list[Tensor]:
    """Loss per row, statistics, and the gradients of a weighted sum in queries, keys and temperature."""
    weights = torch.linspace(0.5, 2.0, query.shape[1], dtype=torch.float64).to(query.dtype)
    rows, stats = info_nce(query, keys, reduction="none", return_stats=True, **(options | more))
    wanted = [x for x in (query, keys, more.get("temperature")) if isinstance(x, Tensor) and x.requires_grad]
    return [rows, *stats, *torch.autograd.grad((rows * weights).sum(), wanted)]
