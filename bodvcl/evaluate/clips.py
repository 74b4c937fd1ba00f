"""Shapes of clip batches for the evaluation, and an encoder frozen for its time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """No gradient and eval mode inside; afterwards every submodule has its training flag back."""
    flags = [(submodule, submodule.training) for submodule in module.modules()]
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for submodule, training in flags:
            submodule.training = training


def unfold_clips(clips: Tensor) -> tuple[Tensor, int]:
    """``(N, 3, L, H, W)`` or ``(N, V, 3, L, H, W)`` -> ``(N * V, 3, L, H, W)`` and V (1 without a clip axis).

    Raises:
        ValueError: clips of any other rank.
    """
    if clips.ndim == 5:
        return clips, 1
    if clips.ndim == 6:
        return clips.flatten(0, 1), clips.shape[1]
    raise ValueError(
        f"clips have shape {tuple(clips.shape)}; expected (videos, 3, frames, height, width) "
        "or (videos, clips, 3, frames, height, width)"
    )


def to_encoder(clips: Tensor, encoder: nn.Module, device: torch.device | str) -> Tensor:
    """Clips on the device, in the dtype of the encoder's parameters (their own dtype if it has none)."""
    dtypes = (p.dtype for p in encoder.parameters() if p.is_floating_point())
    return clips.to(device, next(dtypes, clips.dtype), non_blocking=True)
