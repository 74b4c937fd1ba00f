"""The memory of MoCo: keys of earlier steps, one ring buffer per stream."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from bodvcl.ops.distributed import gather


class KeyQueue(nn.Module):
    """The newest keys of H streams as unit vectors; places that were never filled are zero.

    A zero vector has no direction and is ignored, so a queue that is not full needs no mask. The keys of all
    processes enter in the order of their ranks: the queue is the same on every process.

    Args:
        streams: H, number of streams.
        size: Q, keys per stream.
        dim: M, width of a key.

    Attributes:
        keys: buffer ``(H, Q, M)``.
        count: buffer, int64: number of keys that have entered each stream since the start.
    """

    keys: Tensor
    count: Tensor

    def __init__(self, streams: int, size: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("keys", torch.zeros(streams, size, dim))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def enqueue(self, keys: Tensor, taken: Tensor) -> None:
        """Replace the oldest keys by ``keys``, ``(H, K, M)``. With K > Q only the last Q are kept.

        Where ``taken``, a bool scalar, is False, nothing changes.
        """
        new = gather(normalize(keys.to(self.keys.dtype), dim=-1), 1)[:, -self.keys.shape[1] :]
        places = (self.count + torch.arange(new.shape[1], device=new.device)) % self.keys.shape[1]
        self.keys.index_copy_(1, places, torch.where(taken, new, self.keys.index_select(1, places)))
        self.count += new.shape[1] * taken

    def filled(self) -> Tensor:
        """Share of the places that hold a key: a float32 scalar in [0, 1]."""
        return (self.count / self.keys.shape[1]).clamp_max(1).float()
