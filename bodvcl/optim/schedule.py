"""The learning rate as a function of the step."""

from __future__ import annotations

import math

from bodvcl.config.schema import OptimConfig


def learning_rate(
    step: int,
    total_steps: int,
    peak: float,
    rising: int,
    start: float = 0.0,
    cosine_from_start: bool = False,
) -> float:
    """Linear rise over the first ``rising`` steps, then a cosine to 0 at ``total_steps``.

    Args:
        step: 0 for the first step.
        total_steps: length of the schedule; later steps get 0.
        peak: highest rate.
        rising: number of warm-up steps; the last of them has the full rate.
        start: what the rise starts from (one step before the first).
        cosine_from_start: the cosine begins at step 0 instead of after the rise, which then goes up to it:
            the rate stays below ``peak``, as in SlowFast.
    """
    if step < rising:
        top = _cosine(rising / total_steps, peak) if cosine_from_start else peak
        return start + (top - start) * (step + 1) / rising
    if cosine_from_start:
        return _cosine(step / total_steps, peak)
    return _cosine((step - rising) / max(1, total_steps - rising), peak)


def rising_steps(config: OptimConfig, total_steps: int, steps_per_epoch: int) -> int:
    """Steps of warm-up: ``config.warmup`` is a share of the run below 1, a number of epochs from 1 on."""
    if config.warmup < 1:
        return math.ceil(config.warmup * total_steps)
    return min(round(config.warmup * steps_per_epoch), total_steps)


def batch_factor(config: OptimConfig, batch_size: int) -> float:
    """What both learning rates are multiplied with: ``batch_size / config.lr_per``, or 1."""
    return 1.0 if config.lr_per is None else batch_size / config.lr_per


def _cosine(progress: float, peak: float) -> float:
    return peak * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
