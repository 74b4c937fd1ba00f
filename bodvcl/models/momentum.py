"""The momentum encoder: a slow copy of an encoder (Eq. 3)."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import torch
import torch.distributed as dist
from torch import Tensor

from bodvcl.models.encoder import VideoEncoder
from bodvcl.ops.distributed import gather, world_size


def momentum_copy(encoder: VideoEncoder) -> VideoEncoder:
    """A copy whose parameters nobody trains; it has batch statistics of its own."""
    return copy.deepcopy(encoder).requires_grad_(False)


def momentum_at(start: float, progress: float) -> float:
    """Momentum that rises from ``start`` to 1 as a cosine: ``1 - (1 - start) (cos(pi progress) + 1) / 2``.

    Args:
        start: in [0, 1].
        progress: share of the run that is done, in [0, 1].
    """
    return 1 - (1 - start) * (math.cos(math.pi * progress) + 1) / 2


@torch.no_grad()
def shuffled_over_ranks(encode: Callable[[Tensor], Tensor], clips: Tensor) -> Tensor:
    """``encode(clips)`` with clips dealt to the processes at random, and the rows dealt back: shuffle-BN.

    Keys that were normalised with the statistics of the very clips of their queries give the pair away. With
    one process there is nothing to deal.

    Args:
        encode: ``(N, ...)`` to ``(N, ...)``, row by row but for batch statistics.
        clips: the same number in every process.
    """
    ranks = world_size()
    if ranks == 1:
        return encode(clips)
    count = len(clips)
    order = torch.randperm(count * ranks, device=clips.device)
    dist.broadcast(order, 0)
    mine = slice(dist.get_rank() * count, (dist.get_rank() + 1) * count)
    rows = gather(encode(gather(clips)[order[mine]]))
    return rows[order.argsort()[mine]]
