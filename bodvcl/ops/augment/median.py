"""The median over time, with whole frames as the numbers that are sorted."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor


def median_over_time(clips: Tensor) -> Tensor:
    """The median of every pixel and colour; of an even number of frames the lower of the middle two.

    A sorting network whose numbers are whole frames, cut down to what the median needs: 17 exchanges for 8
    frames, 53 for 16.

    Args:
        clips: ``(N, C, L, ...)`` with L of 1 or more, of any real dtype.

    Returns:
        ``(N, C, ...)`` in the dtype of the clips.
    """
    if clips.device.type == "cpu" and len(clips) > 1:  # the frames of one clip fit into a processor's cache
        return torch.cat([median_over_time(clip) for clip in clips.split(1)])
    frames = list(clips.unbind(2))
    for low, high in _exchanges(len(frames)):
        a, b = frames[low], frames[high]
        frames[low], frames[high] = torch.minimum(a, b), torch.maximum(a, b)
    return frames[(len(frames) - 1) // 2]


@lru_cache(maxsize=16)
def _exchanges(count: int) -> tuple[tuple[int, int], ...]:
    """The exchanges of Batcher's odd-even merge sort of ``count`` numbers on which the lower median depends.

    Source: Knuth, The Art of Computer Programming, volume 3, algorithm 5.2.2M.
    """
    network = []
    size = 1
    while size < count:
        step = size
        while step:
            for first in range(step % size, count - step, 2 * step):
                for low in range(first, min(first + step, count - step)):
                    if low // (2 * size) == (low + step) // (2 * size):
                        network.append((low, low + step))
            step //= 2
        size *= 2
    needed, kept = {(count - 1) // 2}, []
    for low, high in reversed(network):
        if low in needed or high in needed:
            needed |= {low, high}
            kept.append((low, high))
    return tuple(reversed(kept))
