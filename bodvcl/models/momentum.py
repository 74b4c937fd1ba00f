"""The momentum encoder: a slow copy of an encoder (Eq. 3)."""

from __future__ import annotations

import copy
import hashlib
import math
from collections.abc import Callable

import torch
import torch.distributed as dist
from torch import Tensor

from bodvcl.models.encoder import VideoEncoder
from bodvcl.ops.distributed import world_size


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


def shuffle_order(seed: int, step: int, rows: int) -> Tensor:
    """A permutation of ``rows`` rows on the CPU, a function of (seed, step): int64 ``(rows,)``.

    Every process makes the same one, so none has to be sent.
    """
    mixed = hashlib.blake2b(f"shuffle {seed} {step}".encode(), digest_size=8).digest()
    return torch.randperm(rows, generator=torch.Generator().manual_seed(int.from_bytes(mixed, "big") >> 1))


@torch.no_grad()
def shuffled_over_ranks(encode: Callable[[Tensor], Tensor], clips: Tensor, seed: int, step: int) -> Tensor:
    """``encode(clips)``, where each clip is encoded by a random process (shuffle-BN).

    If a key and its query are normalised with the statistics of the same clips, the statistics reveal that
    they belong together. Each clip travels to one process and its result back: two exchanges, whose size does
    not grow with the number of processes. With one process the clips stay where they are.

    Args:
        encode: function from ``(N, ...)`` to ``(N, ...)``; rows are independent, except for batch statistics.
        clips: clips ``(N, ...)``, the same number on every process.
        seed: seed of the permutations, the same on every process.
        step: number of the step.

    Returns:
        The results for the clips of this process.
    """
    ranks = world_size()
    if ranks == 1:
        return encode(clips)
    count, rank = len(clips), dist.get_rank()
    order = shuffle_order(seed, step, count * ranks).view(ranks, count)  # row r: what process r encodes
    owner = order // count
    sent = torch.bincount((owner == rank).nonzero()[:, 0], minlength=ranks).tolist()
    received = torch.bincount(owner[rank], minlength=ranks).tolist()
    rows = order[owner == rank] - rank * count  # the rows of this process by their destination
    if clips.is_cuda:
        rows = rows.pin_memory().to(clips.device, non_blocking=True)
    results = encode(_exchange(clips[rows], sent, received))
    returned = _exchange(results, received, sent)
    return torch.empty_like(returned).index_copy_(0, rows, returned)


def _exchange(x: Tensor, sent: list[int], received: list[int]) -> Tensor:
    """Send rows to the other processes and get theirs, in the same memory format.

    Args:
        x: ``(sum(sent), ...)``, sorted by destination.
        sent: number of rows for each process.
        received: number of rows from each process.
    """
    by_stride = [0, *sorted(range(1, x.dim()), key=x.stride, reverse=True)]
    dense = x.permute(by_stride).contiguous()
    out = dense.new_empty(sum(received), *dense.shape[1:])
    dist.all_to_all_single(out, dense, received, sent)
    return out.permute([by_stride.index(d) for d in range(x.dim())])
