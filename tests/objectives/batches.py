"""Small batches of stream embeddings in float64, and the pieces that formulas are written with."""

from __future__ import annotations

import torch
from torch import Tensor

from bodvcl.objectives.base import ObjectiveInput

STREAMS = ("static", "dynamic")
VIDEOS, DIM = 4, 5


def embeddings(views: int, seed: int = 0, empty: tuple[tuple[int, int], ...] = ()) -> dict[str, Tensor]:
    """Streams ``(VIDEOS * views, DIM)``; ``empty`` names (video, view) whose static row is zero."""
    g = torch.Generator().manual_seed(seed)
    z = {s: torch.randn(VIDEOS * views, DIM, generator=g, dtype=torch.float64) for s in STREAMS}
    for video, view in empty:
        z["static"][video * views + view] = 0
    return {s: x.requires_grad_() for s, x in z.items()}


def batch(views: int, empty=(), empty_targets=(), targets: bool = True) -> ObjectiveInput:
    keys = {s: x.detach() for s, x in embeddings(views, 1, empty_targets).items()}
    ids = torch.arange(VIDEOS).repeat_interleave(views)
    return ObjectiveInput(embeddings(views, 0, empty), ids, views, keys if targets else None)


def cosine(a: Tensor, b: Tensor) -> Tensor:
    return a @ b / (a.norm() * b.norm())


def gradients(losses: dict[str, Tensor], streams: dict[str, Tensor]) -> list[Tensor]:
    return list(torch.autograd.grad(sum(losses.values()), list(streams.values()), retain_graph=True))
