"""What to tell the user when a loss or a gradient is no longer a number."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from bodvcl.config import TrainConfig
from bodvcl.errors import UserError


class Diverged(UserError):
    """A loss or the gradient became NaN or infinite; the weights are those before the step."""


def diagnose(
    step: int,
    values: dict[str, float],
    clips: Tensor,
    learner: nn.Module,
    config: TrainConfig,
    lr: float,
    usual_norm: float | None,
) -> Diverged:
    """Name the step, what broke, and the likely cause with its remedy.

    Args:
        step: number of the step, from 1.
        values: losses and ``grad_norm`` of that step.
        clips: its input.
        learner: with the weights before the step.
        config: the run's configuration.
        lr: learning rate of the step.
        usual_norm: running mean of the gradient norm before; None on the first step.
    """
    broken = ", ".join(name for name, v in values.items() if not math.isfinite(v)) or "the gradient"
    if not torch.isfinite(clips).all():
        cause = "the clips themselves hold NaN or infinities: look for damaged videos"
    elif not all(torch.isfinite(p).all() for p in learner.parameters()):
        cause = "the weights were already not finite: go back to an earlier checkpoint"
    elif usual_norm is not None and usual_norm > 100:
        cause = (
            f"the gradient norm had risen to {usual_norm:.3g}: lower --optim.lr (this step: {lr:.3g}) "
            "or set --optim.clip-norm 1"
        )
    elif config.decouple != "none" and config.bilevel.solver != "single" and config.bilevel.gamma > 1:
        cause = f"the inner step is very long: lower --bilevel.gamma (now {config.bilevel.gamma:g})"
    elif config.objective.tau < 0.01:
        cause = f"the temperature is very low: raise --objective.tau (now {config.objective.tau:g})"
    else:
        cause = f"the learning rate is probably too high: lower --optim.lr (this step: {lr:.3g})"
    return Diverged(f"step {step}: {broken} is not finite; {cause}")
