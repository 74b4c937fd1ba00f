"""The memory layout of an optimiser's state."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def laid_out(state: dict[str, Any], optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """A state in which every tensor of the shape of its parameter also has the parameter's strides.

    Fused optimisers read parameter and state in the order of memory. A state that was saved with another
    layout (by ``--no-fast``, or cut over the ranks) would be mixed up without an error.

    Args:
        state: ``state_dict`` of an optimiser.
        optimizer: the optimiser that will load it.
    """
    params = [p for group in optimizer.param_groups for p in group["params"]]

    def like(value: Any, p: Tensor) -> Any:
        if not isinstance(value, Tensor) or value.shape != p.shape or value.stride() == p.stride():
            return value
        return torch.empty_like(p, dtype=value.dtype, device=value.device).copy_(value)

    return state | {
        "state": {
            number: {key: like(value, params[number]) for key, value in values.items()}
            if number < len(params)
            else values
            for number, values in state["state"].items()
        }
    }
