"""Known numbers on a device, put there once."""

from __future__ import annotations

import torch
from torch import Tensor

from bodvcl.ops.checks import capturing
from bodvcl.ops.transforms import traced

Key = tuple[float | tuple[float, ...], torch.dtype, torch.device]

_made: dict[Key, Tensor] = {}
_under_way: dict[Key, torch.cuda.Event] = {}
"""Constants whose filling a GPU was not yet seen to have done: a stream other than its own has to wait."""


def constant(value: float | tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """A number as a scalar tensor, or several as ``(len(value),)``; to be read only.

    It is filled on the device, because a copy from the host would wait for the device, and kept for ever: a
    captured graph may read it. For few different values therefore. During the capture of a CUDA graph a new
    one belongs to the graph and is not kept.
    """
    key = value, dtype, device
    if key in _made:
        if key in _under_way:
            _join(key)
        return _made[key]
    with torch.inference_mode(False):
        if isinstance(value, tuple):
            made = torch.zeros(len(value), dtype=dtype, device=device)
            for i, number in enumerate(value):
                made[i].fill_(number)
        else:
            made = torch.full((), value, dtype=dtype, device=device)
    if capturing(made) or type(made) is not Tensor:  # the latter is that of a tracer
        return made
    if made.is_cuda:
        _under_way[key] = torch.cuda.Event()
        _under_way[key].record(torch.cuda.current_stream(device))
    _made[key] = made
    return made


def _join(key: Key) -> None:
    """Let the current stream wait, and not the host, until the constant is filled. A capture begins later."""
    made, event = _made[key], _under_way[key]
    if capturing(made):
        return
    if event.query():
        _under_way.pop(key, None)
    else:
        torch.cuda.current_stream(made.device).wait_event(event)


def where(condition: Tensor, x: Tensor, number: float) -> Tensor:
    """``torch.where(condition, x, number)`` in one launch.

    PyTorch itself fills the number into a tensor of the device at every call.
    """
    if traced(x):
        return torch.where(condition, x, number)
    return torch.where(condition, x, constant(number, x.dtype, x.device))
