"""Checks that several operations share, and the form of what they say.

A message reads ``operation: argument is VALUE; expected WHAT``, with the remedy behind where there is one.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def capturing(x: Tensor) -> bool:
    """Whether a CUDA graph is being captured on the device of ``x``, when no value can be read from it."""
    return x.is_cuda and torch.cuda.is_current_stream_capturing()


def described(x: object) -> str:
    """dtype and shape of a tensor, the type of anything else, for error messages."""
    return f"{x.dtype} {tuple(x.shape)}" if isinstance(x, Tensor) else type(x).__name__


def one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    """``value``, called ``name`` or ``operation: name``, is one of ``allowed``."""
    if value not in allowed:
        raise ValueError(f"{name} is {value!r}; expected one of {', '.join(map(repr, allowed))}")


def check_positive(op: str, name: str, value: float) -> None:
    """``value`` is positive and finite."""
    if not 0 < value < math.inf:
        raise ValueError(f"{op}: {name} is {value}; expected a positive, finite number")


def check_device(op: str, name: str, x: Tensor, other: str, like: Tensor) -> None:
    """``x`` is on the device of ``like``."""
    if x.device != like.device:
        raise ValueError(
            f"{op}: {name} is on {x.device}; expected {like.device}, where {other} is. Move one of them"
        )


def check_valid(op: str, valid: Tensor | None, like: Tensor, name: str, dims: int) -> None:
    """``valid`` is bool and has the first ``dims`` dimensions and the device of ``like``, called ``name``."""
    if valid is None:
        return
    shape = tuple(like.shape[:dims])
    if not isinstance(valid, Tensor) or valid.dtype != torch.bool or tuple(valid.shape) != shape:
        raise ValueError(f"{op}: valid is {described(valid)}; expected {torch.bool} {shape}, or None")
    check_device(op, "valid", valid, name, like)
