"""The mean of gradients over the ranks, sent in parts while the backward pass still computes the others.

The parts are fixed from the start. PyTorch's DistributedDataParallel makes its parts anew after the first
step, in the order in which gradients came. The order of a sum over three or more ranks, and so its last bits,
depend on the parts: a run that is resumed would not continue bit for bit.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor, nn

BYTES = 25_000_000
"""Bytes of a part: large enough that sending is not dominated by latency."""


class GradientBuckets:
    """Sums the ``.grad`` of parameters over all ranks and divides by their number.

    A part is sent as soon as the gradients in it are complete and all parts before it are sent: every rank
    sends them in one order, from the last parameter, whose gradient comes first, to the first.

    Args:
        params: parameters by name, the same on every rank.
        ranks: number of ranks.
        size: bytes of a part.
    """

    def __init__(self, params: Mapping[str, nn.Parameter], ranks: int, size: int = BYTES) -> None:
        self._ranks = ranks
        self._buckets = [*_cut(list(params.values())[::-1], size)]
        self._active = False
        for n, bucket in enumerate(self._buckets):
            for p in bucket:
                p.register_post_accumulate_grad_hook(functools.partial(self._arrived, n))

    @contextmanager
    def sent(self, passes: int) -> Iterator[None]:
        """While entered, backward passes send the gradients. Afterwards each ``.grad`` is the mean over the
        ranks, or on its way there, in order with what the device computes next. A parameter that got no
        gradient counts as zero. An error in a pass leaves the gradients as they are.

        Args:
            passes: number of backward passes; gradients are sent during the last one.
        """
        self._missing = [passes * len(bucket) for bucket in self._buckets]
        self._on_the_way: list[tuple[Tensor, dist.Work | None]] = []
        self._active = True
        try:
            yield
        finally:
            self._active = False
        while len(self._on_the_way) < len(self._buckets):
            self._send()
        for bucket, (flat, work) in zip(self._buckets, self._on_the_way):
            if work is not None:
                work.wait()
            flat /= self._ranks
            parts = flat.split([p.numel() for p in bucket])
            torch._foreach_copy_(_gradients(bucket), [t.view(p.shape) for t, p in zip(parts, bucket)])
        self._on_the_way = []

    def _arrived(self, bucket: int, parameter: Tensor) -> None:
        """A gradient of this part is complete."""
        if not self._active:
            return
        self._missing[bucket] -= 1
        while (n := len(self._on_the_way)) < len(self._buckets) and self._missing[n] == 0:
            self._send()

    def _send(self) -> None:
        bucket = self._buckets[len(self._on_the_way)]
        for p in bucket:
            if p.grad is None:
                p.grad = torch.zeros_like(p)
        flat = torch.cat([g.flatten() for g in _gradients(bucket)])
        self._on_the_way.append((flat, dist.all_reduce(flat, async_op=True)))


def _gradients(params: Sequence[nn.Parameter]) -> list[Tensor]:
    return [p.grad for p in params if p.grad is not None]


def _cut(params: Sequence[nn.Parameter], size: int) -> Iterator[list[nn.Parameter]]:
    """Parts of neighbours of one dtype, of so many bytes or one parameter."""
    part: list[nn.Parameter] = []
    used = 0
    for p in params:
        bytes_ = p.numel() * p.element_size()
        if part and (used + bytes_ > size or p.dtype != part[0].dtype):
            yield part
            part, used = [], 0
        part.append(p)
        used += bytes_
    if part:
        yield part
