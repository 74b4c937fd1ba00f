"""Tensors that are cut over the ranks."""

from __future__ import annotations

import torch
from torch import Tensor


def own_part(x: Tensor) -> Tensor:
    """What this rank holds of a tensor that is cut over the ranks (a ``DTensor``), without graph and with the
    same storage; any other tensor as it is."""
    if not hasattr(x, "to_local"):
        return x
    with torch.no_grad():
        part: Tensor = x.to_local()
        return part
