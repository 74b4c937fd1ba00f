"""The learning rate as a function of the step."""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence

from bodvcl.config.schema import OptimConfig


def learning_rate(
    step: int,
    total_steps: int,
    peak: float,
    rising: int,
    start: float = 0.0,
    cosine_from_start: bool = False,
) -> float:
    """Learning rate of a step: a linear warm-up over the first ``rising`` steps, then a cosine to 0.

    Args:
        step: number of the step, from 0.
        total_steps: length of the schedule; later steps get 0.
        peak: highest rate.
        rising: number of warm-up steps; the last of them has the full rate.
        start: rate one step before the first.
        cosine_from_start: start the cosine at step 0 and not after the warm-up. The warm-up then ends on the
            cosine, below ``peak``, as in SlowFast.
    """
    if step < rising:
        top = _cosine(rising / total_steps, peak) if cosine_from_start else peak
        return start + (top - start) * (step + 1) / rising
    if cosine_from_start:
        return _cosine(step / total_steps, peak)
    return _cosine((step - rising) / max(1, total_steps - rising), peak)


def stepped_rate(
    step: int, steps_per_epoch: int, peak: float, milestones: Sequence[float], factors: Sequence[float]
) -> float:
    """Learning rate of a step that falls at milestones, in epochs.

    Args:
        step: number of the step, from 0.
        steps_per_epoch: steps of an epoch.
        peak: rate before the first milestone.
        milestones: epochs after which the rate changes, increasing.
        factors: rate after each milestone, as a share of ``peak``.
    """
    passed = bisect.bisect_right(milestones, step / steps_per_epoch)
    return peak * (factors[passed - 1] if passed else 1.0)


def rising_steps(config: OptimConfig, total_steps: int, steps_per_epoch: int) -> int:
    """Number of warm-up steps.

    Args:
        config: its ``warmup`` is a share of the run if it is below 1, else a number of epochs.
        total_steps: steps of the run.
        steps_per_epoch: steps of an epoch.
    """
    if config.warmup < 1:
        return math.ceil(config.warmup * total_steps)
    return min(round(config.warmup * steps_per_epoch), total_steps)


def batch_factor(config: OptimConfig, batch_size: int) -> float:
    """Factor of the learning rates: ``batch_size / config.lr_per``; 1 where ``lr_per`` is None."""
    return 1.0 if config.lr_per is None else batch_size / config.lr_per


def _cosine(progress: float, peak: float) -> float:
    return peak * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
