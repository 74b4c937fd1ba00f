"""The memory of MoCo: the keys of earlier steps, one ring per stream."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from bodvcl.ops.distributed import gather


class KeyQueue(nn.Module):
    """The newest keys of H streams, unit vectors; the places that were never filled are zero.

    A zero vector has no direction and counts for nobody, so a filling queue needs no mask. Keys of all
    processes are put in, in the order of their ranks: the queue is the same in every process.

    Args:
        streams: H.
        size: Q, keys per stream.
        dim: M, their width.

    Attributes:
        keys: buffer ``(H, Q, M)``.
        count: buffer, int64: how many keys were ever put into each stream.
    """

    keys: Tensor
    count: Tensor

    def __init__(self, streams: int, size: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("keys", torch.zeros(streams, size, dim))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def enqueue(self, keys: Tensor) -> None:
        """Put ``(H, K, M)`` keys in the place of the oldest; of more than Q the last are kept."""
        new = gather(normalize(keys.to(self.keys.dtype), dim=-1), 1)[:, -self.keys.shape[1] :]
        places = (self.count + torch.arange(new.shape[1], device=new.device)) % self.keys.shape[1]
        self.keys.index_copy_(1, places, new)
        self.count += new.shape[1]

    def filled(self) -> Tensor:
        """Share of the places that hold a key, float32 in [0, 1]."""
        return (self.count / self.keys.shape[1]).clamp_max(1).float()
