"""Exponential moving average of parameters, for the momentum encoder of MoCo and BYOL."""

from __future__ import annotations

import torch
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


@torch.no_grad()
def ema_update(target: nn.Module, source: nn.Module, m: float) -> None:
    """``target <- m target + (1 - m) source`` for every parameter, in place, with few kernel launches.

    Buffers do not change: a momentum encoder has batch statistics of its own.

    Args:
        target: the moving average.
        source: a module with the same parameters, in the same order.
        m: momentum in [0, 1].

    Raises:
        ValueError: the modules have different parameters, or m is not in [0, 1].
    """
    if not 0 <= m <= 1:
        raise ValueError(f"ema_update: m is {m}; expected a number in [0, 1]")
    averages, sources = list(target.parameters()), list(source.parameters())
    if [p.shape for p in averages] != [p.shape for p in sources]:
        raise ValueError("ema_update: target and source have different parameters; copy the source to start")
    if averages:
        update = get_ema_multi_avg_fn(m)
        update(averages, sources, 0)
