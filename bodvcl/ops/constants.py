"""Known numbers on a device, put there once."""

from __future__ import annotations

import torch
from torch import Tensor

from bodvcl.ops.checks import capturing
from bodvcl.ops.transforms import traced

_made: dict[tuple[float | tuple[float, ...], torch.dtype, torch.device], Tensor] = {}


def constant(value: float | tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """A number as a scalar tensor, or several as ``(len(value),)``; to be read only.

    It is filled on the device, because a copy from the host would wait for the device, and kept for ever: a
    captured graph may read it. For few different values therefore. During the capture of a CUDA graph a new
    one belongs to the graph and is not kept.
    """
    key = value, dtype, device
    if key in _made:
        return _made[key]
    with torch.inference_mode(False):
        if isinstance(value, tuple):
            made = torch.zeros(len(value), dtype=dtype, device=device)
            for i, number in enumerate(value):
                made[i].fill_(number)
        else:
            made = torch.full((), value, dtype=dtype, device=device)
    if capturing(made):
        return made
    if device.type == "cuda":
        torch.cuda.current_stream(device).synchronize()  # once: any stream may read it from now on
    if type(made) is Tensor:  # not that of a tracer
        _made[key] = made
    return made


def where(condition: Tensor, x: Tensor, number: float) -> Tensor:
    """``torch.where(condition, x, number)`` in one launch.

    PyTorch itself fills the number into a tensor of the device at every call.
    """
    if traced(x):
        return torch.where(condition, x, number)
    return torch.where(condition, x, constant(number, x.dtype, x.device))
