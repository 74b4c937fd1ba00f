"""Exponential moving average of parameters, for the momentum encoder of MoCo and BYOL."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bodvcl.ops.cut import own_part


@torch.no_grad()
def ema_update(target: nn.Module, source: nn.Module, m: float, taken: Tensor | None = None) -> None:
    """``target <- m target + (1 - m) source`` for every parameter, in place, with few kernel launches.

    Buffers do not change: a momentum encoder has batch statistics of its own. Of parameters
    that are cut over the ranks, each rank averages its own part.

    Args:
        target: the moving average.
        source: a module with the same parameters, in the same order.
        m: momentum in [0, 1].
        taken: bool scalar on the parameters' device: where it is False, nothing changes. None: True.

    Raises:
        ValueError: the modules have different parameters, or m is not in [0, 1].
    """
    if not 0 <= m <= 1:
        raise ValueError(f"ema_update: m is {m}; expected a number in [0, 1]")
    averages = [own_part(p) for p in target.parameters()]
    sources = [own_part(p) for p in source.parameters()]
    if [p.shape for p in averages] != [p.shape for p in sources]:
        raise ValueError("ema_update: target and source have different parameters; copy the source to start")
    if averages:
        share = averages[0].new_full((), 1 - m)
        if taken is not None:
            share = share * taken
        torch._foreach_mul_(averages, 1 - share)
        torch._foreach_add_(averages, list(torch._foreach_mul(sources, share)))
