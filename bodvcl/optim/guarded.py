"""A step of the optimiser that the device itself leaves out."""

from __future__ import annotations

import torch
from torch import Tensor


def step_unless(optimizer: torch.optim.Optimizer, broken: Tensor) -> None:
    """``optimizer.step()`` unless ``broken``; then neither parameters nor the optimiser's state change.

    Fused optimisers and :class:`bodvcl.optim.lamb.LAMB` read ``broken`` on the device, as they read
    ``found_inf`` of a loss scale, and nothing waits. For the others (``--no-fast``, apex) the host reads it.

    Args:
        optimizer: any optimiser of :func:`bodvcl.optim.factory.make_optimizer`.
        broken: bool scalar on the device of the parameters.
    """
    if not getattr(optimizer, "_step_supports_amp_scaling", False):
        if not broken.item():
            optimizer.step()
        return
    optimizer.found_inf = broken.float()  # type: ignore[attr-defined]  # as torch.amp.GradScaler sets it
    try:
        optimizer.step()
    finally:
        del optimizer.found_inf  # type: ignore[attr-defined]
