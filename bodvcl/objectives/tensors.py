"""Tensor functions that several objectives share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.distributed as dist
from torch import Tensor

from bodvcl.ops.contrastive import info_nce
from bodvcl.ops.distributed import info_nce_gathered, world_size


def stacked(streams: Mapping[str, Tensor]) -> Tensor:
    """``(H, N, M)``, the embeddings of H streams in one tensor."""
    return torch.stack(list(streams.values()))


def nonempty(z: Tensor) -> Tensor:
    """``(...)`` bool, which rows of ``(..., M)`` are not zero.

    A row with NaN is not zero, so that it takes part and its loss is NaN.
    """
    largest: Tensor = torch.linalg.vector_norm(z.detach(), torch.inf, -1)
    return largest != 0


def by_video(x: Tensor, views: int, dim: int = 0) -> Tensor:
    """``(..., videos * views, ...)`` to ``(..., videos, views, ...)``, at dimension ``dim``."""
    return torch.unflatten(x, dim, (-1, views))


def row_ids(count: int, device: torch.device) -> Tensor:
    """``(count,)`` int64, one number per row of this process; different on every process."""
    first = dist.get_rank() * count if world_size() > 1 else 0
    return torch.arange(first, first + count, device=device)


def mean_over_ranks(total: Tensor, count: Tensor) -> Tensor:
    """``total / count``, scaled so that its mean over processes is the quotient of the sums over processes.

    Args:
        total: ``(H,)``, sums over the rows of this process.
        count: ``(H,)`` integers, number of rows in each sum. Where no process has a row, the result is 0.
    """
    ranks = world_size()
    if ranks > 1:
        count = count.clone()
        dist.all_reduce(count)
    return total * ranks / count.clamp_min(1)


def info_nce_in_batch(
    z: Tensor,
    videos: Tensor,
    clips: Tensor,
    tau: float,
    names: Sequence[str],
    *,
    normalize: bool = True,
    check_rows: bool = False,
) -> Tensor:
    """``(H,)``, InfoNCE (Eqs. 1 and 2) of every row against the rows of all processes.

    Args:
        z: ``(H, N, M)``. With ``normalize`` a zero row counts neither as query nor as key.
        videos: ``(N,)`` integers; rows of one video are positives.
        clips: ``(N,)`` integers; rows with equal numbers are not compared.
        tau: temperature.
        names: names of the H streams, for error messages.
        normalize: True: compare directions; False: dot products.
        check_rows: raise where processes have different numbers of rows. The training loop makes them equal.
    """
    valid = nonempty(z) if normalize else None
    if world_size() > 1:
        return info_nce_gathered(
            z,
            z,
            video=videos,
            clip=clips,
            valid=valid,
            temperature=tau,
            normalize=normalize,
            streams=tuple(names),
            check_finite=False,
            check_rows=check_rows,
        )
    return info_nce(
        z,
        z,
        query_video=videos,
        key_video=videos,
        query_clip=clips,
        key_clip=clips,
        valid=valid,
        temperature=tau,
        normalize=normalize,
        streams=tuple(names),
        check_finite=False,
    )
