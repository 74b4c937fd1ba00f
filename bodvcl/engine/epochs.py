"""The batches of a training from a step on, over the ends of epochs."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import TypeVar

Batch = TypeVar("Batch")


def batches_from(
    step: int,
    steps_per_epoch: int,
    epoch: Callable[[int, int], Iterator[Batch]],
    waiting: Callable[[], AbstractContextManager[None]],
) -> Iterator[Batch]:
    """The batches from a step on, without end.

    Args:
        step: steps that are done.
        steps_per_epoch: steps of an epoch.
        epoch: the batches of an epoch, by its number from 0, from one of its steps on.
        waiting: entered while a batch is waited for.
    """
    first, position = divmod(step, steps_per_epoch)
    for number in itertools.count(first):
        batches = epoch(number, position if number == first else 0)
        while True:
            with waiting():
                try:
                    batch = next(batches)
                except StopIteration:
                    break
            yield batch
