"""Small tensors of known numbers on a device, made there once."""

from __future__ import annotations

import torch
from torch import Tensor

_made: dict[tuple[tuple[float, ...], torch.dtype, torch.device], Tensor] = {}


def constant(values: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """``values`` as a tensor ``(len(values),)``, to be read only.

    It is filled on the device, because a copy from the host would wait for the device, and kept for ever: a
    captured graph may read it. For few different values therefore. During the capture of a CUDA graph a new
    one belongs to the graph and is not kept.
    """
    key = values, dtype, device
    if key in _made:
        return _made[key]
    with torch.inference_mode(False):
        made = torch.zeros(len(values), dtype=dtype, device=device)
        for i, value in enumerate(values):
            if value:
                made[i].fill_(value)
    if device.type == "cuda":
        if torch.cuda.is_current_stream_capturing():
            return made
        torch.cuda.current_stream(device).synchronize()  # once: any stream may read it from now on
    if type(made) is Tensor:  # not one of a tracer
        _made[key] = made
    return made
