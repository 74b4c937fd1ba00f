"""Whether the state of a run is free of NaN and infinities."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor


def not_finite(state: Any) -> list[str]:
    """Names of the values in a nested state that are, or contain, NaN or infinities.

    Args:
        state: tensors, numbers and other values, in mappings, lists and tuples of any depth.

    Returns:
        Keys and indices from the outside to the inside, joined by dots: ``optimizer.state.0.exp_avg``.
    """
    return [name for name, value in _leaves(state) if not _is_finite(value)]


def copied(state: Any) -> Any:
    """A copy of a nested state on the CPU that shares no tensor with it."""
    if isinstance(state, Tensor):
        return state.detach().to("cpu", copy=True)
    if isinstance(state, Mapping):
        return {key: copied(value) for key, value in state.items()}
    if isinstance(state, list | tuple):
        return type(state)(copied(value) for value in state)
    return state


def some(names: Sequence[str], most: int = 3) -> str:
    """The first ``most`` names, the number of the others, and the verb: ``a and b are``."""
    if len(names) > most:
        return f"{', '.join(names[:most])} and {len(names) - most:,} more are"
    return f"{names[0]} is" if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]} are"


def _leaves(state: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(state, Mapping):
        inner = list(state.items())
    elif isinstance(state, list | tuple):
        inner = list(enumerate(state))
    else:
        yield name, state
        return
    for key, value in inner:
        yield from _leaves(value, f"{name}.{key}" if name else str(key))


def _is_finite(value: Any) -> bool:
    if isinstance(value, Tensor):
        return bool(torch.isfinite(value).all())
    return not isinstance(value, float) or math.isfinite(value)
