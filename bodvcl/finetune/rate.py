"""The learning rate of a training with labels."""

from __future__ import annotations

from bodvcl.finetune.loop_options import TuneOptim
from bodvcl.optim.schedule import learning_rate, rising_steps, stepped_rate


def rate_at(step: int, total: int, steps_per_epoch: int, optim: TuneOptim, factor: float = 1.0) -> float:
    """Learning rate of a step.

    The warm-up of the schedule ``steps`` is linear, to the rate at its end.

    Args:
        step: number of the step, from 0.
        total: steps of the run.
        steps_per_epoch: steps of an epoch.
        optim: schedule, peak, and warm-up.
        factor: factor of all rates, from the batch size.
    """
    peak, start = optim.lr * factor, optim.warmup_lr * factor
    rising = rising_steps(optim, total, steps_per_epoch)
    if optim.schedule == "cosine":
        return learning_rate(step, total, peak, rising, start, optim.cosine_from_start)
    if step < rising:
        top = stepped_rate(rising, steps_per_epoch, peak, optim.milestones, optim.factors)
        return start + (top - start) * (step + 1) / rising
    return stepped_rate(step, steps_per_epoch, peak, optim.milestones, optim.factors)
