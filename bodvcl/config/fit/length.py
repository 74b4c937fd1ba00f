"""How many videos a step has, and how many steps a run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bodvcl.config.fit.choice import Chosen, Machine, with_value
from bodvcl.config.schema import TrainConfig
from bodvcl.text.words import counted

MEMORY = 0.6
"""Share of a GPU's memory that the estimate of a step may take; it has no work space of convolutions."""


@dataclass(frozen=True)
class _Scale:
    """How much a kind of device trains.

    Attributes:
        batch: most videos of a step.
        steps: steps of a run.
        least, most: bounds of the number of epochs.
    """

    batch: int
    steps: int
    least: int
    most: int


_GPU = _Scale(batch=128, steps=20_000, least=10, most=400)
_CPU = _Scale(batch=32, steps=1_000, least=1, most=400)

Needs = Callable[[TrainConfig], int]
"""Estimate of the bytes that a step of a run takes on each device."""


def choose_batch(chosen: Chosen, videos: int, machine: Machine, needs: Needs) -> None:
    """Choose the videos of a step: a power of two for each process, by memory and number of videos."""
    if not chosen.opens("batch_size"):
        return
    scale = _GPU if machine.gpu else _CPU
    each = machine.processes * chosen.config.accumulate
    least = each if machine.processes > 1 else 2 * each
    most = max(scale.batch, least)
    reason = f"at most {most} on {'GPUs' if machine.gpu else 'a CPU'}, for other videos to compare with"
    few = min(videos, max(8, videos // 4))
    if few < most:
        most, reason = few, f"{counted(videos, 'video')}: several steps an epoch, where there are enough"
    size = max(least, each * _power_below(most / each))
    while machine.gpu and size > least and _too_much(chosen.config, size, machine, needs):
        size //= 2
        reason = f"a step fits into {MEMORY:.0%} of {machine.memory / 2**30:.0f} GiB"
    chosen.take("batch_size", size, reason)


def _too_much(config: TrainConfig, size: int, machine: Machine, needs: Needs) -> bool:
    return needs(with_value(config, "batch_size", size)) > MEMORY * machine.memory


def _power_below(number: float) -> int:
    return 1 << max(0, int(np.floor(np.log2(max(number, 1)))))


def choose_epochs(chosen: Chosen, videos: int, machine: Machine) -> None:
    """Choose the number of epochs by the number of steps: many for few videos, few for many."""
    scale = _GPU if machine.gpu else _CPU
    an_epoch = max(1, videos // chosen.config.batch_size)
    wanted = round(scale.steps / an_epoch)
    epochs = min(max(wanted, scale.least), scale.most)
    bound = f", within {scale.least} to {scale.most} epochs" if epochs != wanted else ""
    chosen.take(
        "epochs", epochs, f"{epochs * an_epoch:,} steps of {an_epoch:,} an epoch; aim {scale.steps:,}{bound}"
    )
