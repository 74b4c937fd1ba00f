"""Which videos a training step sees: a function of (seed, epoch, step), divided among the processes.

The global batch does not depend on the number of processes; each process takes a contiguous share of it. A
run that is resumed with another number of processes therefore continues with the same global batches.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

import numpy as np

from bodvcl.data.randomness import generator
from bodvcl.errors import ConfigError

_ORDER = 1
_SPARES = 2


@functools.lru_cache(maxsize=2)
def epoch_order(seed: int, epoch: int, count: int) -> np.ndarray:
    """int64 (count,), read-only: the order in which the videos 0 .. count - 1 are visited in an epoch.

    The last two are kept: drawing 10 million takes longer than a step.
    """
    order = generator(seed, _ORDER, epoch, 0).permutation(count)
    order.setflags(write=False)
    return order


def check_share(batch_size: int, rank: int, world_size: int) -> None:
    """Check that a batch can be divided into equal shares.

    Raises:
        ConfigError: `batch_size` is not a multiple of `world_size`.
        ValueError: `rank` is not in 0 .. world_size - 1.
    """
    if not 0 <= rank < world_size:
        raise ValueError(f"rank is {rank}; expected 0 .. {world_size - 1}, for {world_size} processes")
    if batch_size % world_size:
        below = batch_size // world_size * world_size
        raise ConfigError(
            f"a batch of {batch_size} videos cannot be shared equally by {world_size} processes; "
            f"set --batch-size to a multiple of {world_size}, "
            + (f"{below} or {below + world_size}" if below else f"{world_size} for example")
        )


def step_videos(
    order: np.ndarray, step: int, batch_size: int, rank: int = 0, world_size: int = 1
) -> np.ndarray:
    """The share of one process in the global batch of a step.

    Args:
        order: order of the videos in the epoch, from :func:`epoch_order`.
        step: 0 .. len(order) // batch_size - 1.
        batch_size: videos in the global batch, a multiple of `world_size`.
        rank, world_size: number of the share, and how many shares there are.

    Returns:
        int64 (batch_size // world_size,). The shares of all ranks together, in order, are
        order[step * batch_size : (step + 1) * batch_size].
    """
    share = batch_size // world_size
    start = step * batch_size + rank * share
    return order[start : start + share]


def spare_videos(
    seed: int, epoch: int, step: int, count: int, batch_size: int, rank: int = 0, world_size: int = 1
) -> Iterator[int]:
    """Numbers of the videos that may take the place of unreadable ones in a batch, in the order of their use.

    They are not in the global batch. No two processes have the same: each takes every `world_size`-th of the
    other videos, from a drawn start on.

    Args:
        seed, epoch, step: the batch.
        count: number of videos.
        batch_size, rank, world_size: as in :func:`step_videos`.
    """
    order = epoch_order(seed, epoch, count)
    others = np.delete(order, slice(step * batch_size, (step + 1) * batch_size))
    if len(others):
        start = int(generator(seed, _SPARES, epoch, step).integers(len(others)))
        for place in range(rank, len(others), world_size):
            yield int(others[(start + place) % len(others)])
