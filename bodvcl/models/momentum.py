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
    """A copy whose parameters are not trained; it has batch statistics of its own."""
    return copy.deepcopy(encoder).requires_grad_(False)


def momentum_at(start: float, progress: float) -> float:
    """Momentum that rises from ``start`` to 1 as a cosine: ``1 - (1 - start) (cos(pi progress) + 1) / 2``.

    Args:
        start: momentum at the start of the run, in [0, 1].
        progress: share of the run that is done, in [0, 1].
    """
    return 1 - (1 - start) * (math.cos(math.pi * progress) + 1) / 2


@torch.no_grad()
def shuffled_over_ranks(encode: Callable[[Tensor], Tensor], clips: Tensor) -> Tensor:
    """``encode(clips)``, where each clip is encoded by a random process (shuffle-BN).

    If a key and its query are normalised with the statistics of the same clips, the statistics reveal that
    they belong together. With one process the clips stay where they are.

    Args:
        encode: function from ``(N, ...)`` to ``(N, ...)``; rows are independent, except for batch statistics.
        clips: clips ``(N, ...)``, the same number on every process.

    Returns:
        The results for the clips of this process.
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
