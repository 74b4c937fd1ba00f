"""What to tell the user when a loss or a gradient is no longer a number."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from bodvcl.config.schema import TrainConfig
from bodvcl.engine.finite import some
from bodvcl.errors import UserError

MOST_OVERFLOWS = 30
"""Skipped steps in a row that are still put down to a loss scale that is too high: 2^16 has become 2^-14."""


class Diverged(UserError):
    """A loss, the gradient or the state became NaN or infinite; nothing of that is saved."""


@dataclass
class Overflows:
    """Steps that were skipped because a float16 gradient overflowed.

    Attributes:
        count: all of them.
        in_a_row: those since the last step that was taken.
    """

    count: int = 0
    in_a_row: int = 0

    def tolerated(self) -> bool:
        """Count one more; whether to go on with a smaller scale."""
        self.count += 1
        self.in_a_row += 1
        return self.in_a_row <= MOST_OVERFLOWS

    def sentence(self, step: int, scale: float) -> str:
        """What happened, for the user."""
        return (
            f"step {step}: the gradient overflowed float16; no step is taken, the loss scale is now {scale:g}"
        )


def diagnose(
    step: int,
    values: dict[str, float],
    clips_are_finite: bool,
    learner: nn.Module,
    config: TrainConfig,
    lr: float,
    usual_norm: float | None,
    overflows: Overflows,
    kept: str,
) -> Diverged:
    """Name the step, what broke, and the likely cause with its remedy.

    Args:
        step: number of the step, from 1.
        values: losses and ``grad_norm`` of that step.
        clips_are_finite: whether its input was, on every rank.
        learner: with the weights before the step.
        config: the run's configuration.
        lr: learning rate of the step.
        usual_norm: running mean of the gradient norm before; None on the first step.
        overflows: of float16 so far.
        kept: what the checkpoint holds, in words.
    """
    broken = ", ".join(name for name, v in values.items() if not math.isfinite(v)) or "the gradient"
    if not clips_are_finite:
        cause = "the clips themselves hold NaN or infinities: look for damaged videos"
    elif not all(torch.isfinite(p).all() for p in learner.parameters()):
        cause = (
            "the weights were already not finite: go back to an earlier checkpoint, with a lower --optim.lr "
            f"(this step: {lr:.3g})"
        )
    elif overflows.in_a_row > MOST_OVERFLOWS:
        cause = (
            f"the gradient overflowed float16 {overflows.in_a_row} times in a row, whatever the loss scale: "
            "use --precision bf16 or fp32"
        )
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
    return Diverged(f"step {step}: {broken} is not finite; {cause}; {kept}")


def state_diverged(step: int, names: Sequence[str], lr: float, kept: str) -> Diverged:
    """What to say when a step whose loss and gradient were finite left a state that is not.

    Args:
        step: number of the step, from 1.
        names: of the values that are not finite.
        lr: learning rate of the step.
        kept: what the checkpoint holds, in words.
    """
    return Diverged(
        f"after step {step} {some(names)} not finite; the learning rate is probably too high: "
        f"lower --optim.lr (this step: {lr:.3g}); {kept}"
    )
