"""What to tell the user when a loss, a gradient or the state becomes NaN or infinite."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from bodvcl.engine.finite import some
from bodvcl.errors import UserError

MOST_OVERFLOWS = 30
"""Skipped steps in a row that a loss scale that is too high can explain: it has fallen from 2^16 to 2^-14."""


class Diverged(UserError):
    """A loss, the gradient or the state became NaN or infinite; no such value is saved."""


@dataclass
class Overflows:
    """Steps that were skipped because a float16 gradient overflowed.

    Attributes:
        count: number of skipped steps of the run.
        in_a_row: number of skipped steps since the last step that was taken.
    """

    count: int = 0
    in_a_row: int = 0

    def tolerated(self) -> bool:
        """Count one more overflow; returns whether to continue with a smaller scale."""
        self.count += 1
        self.in_a_row += 1
        return self.in_a_row <= MOST_OVERFLOWS

    def sentence(self, step: int, scale: float) -> str:
        """A line for the user about the overflow in this step."""
        return (
            f"step {step}: the gradient overflowed float16; the step is skipped, the loss scale is now "
            f"{scale:g}"
        )


def diagnose(
    step: int,
    values: dict[str, float],
    clips_are_finite: bool,
    weights_are_finite: bool,
    lr: float,
    gamma: float | None,
    tau: float,
    usual_norm: float | None,
    overflows: Overflows,
    kept: str,
) -> Diverged:
    """An error that names the step, the values that are not finite, the likely cause and its remedy.

    Args:
        step: number of the step, from 1.
        values: losses and ``grad_norm`` of that step.
        clips_are_finite: whether the input of the step was finite, on every rank.
        weights_are_finite: whether the weights were finite before the step, on every rank.
        lr: learning rate of the step.
        gamma: learning rate of the inner step; None: there is no inner step.
        tau: temperature of the objective.
        usual_norm: running mean of the gradient norm in earlier steps; None in the first step.
        overflows: float16 overflows so far.
        kept: what the checkpoint holds, in words.
    """
    broken = ", ".join(name for name, v in values.items() if not math.isfinite(v)) or "the gradient"
    if not clips_are_finite:
        cause = "the clips contain NaN or infinities: look for damaged videos"
    elif not weights_are_finite:
        cause = (
            "the weights were not finite before this step: go back to an earlier checkpoint, with a lower "
            f"--optim.lr (this step: {lr:.3g})"
        )
    elif overflows.in_a_row > MOST_OVERFLOWS:
        cause = (
            f"the gradient overflowed float16 {overflows.in_a_row} times in a row, at every loss scale: "
            "use --precision bf16 or fp32"
        )
    elif usual_norm is not None and usual_norm > 100:
        cause = (
            f"the gradient norm had risen to {usual_norm:.3g}: lower --optim.lr (this step: {lr:.3g}) "
            "or set --optim.clip-norm 1"
        )
    elif gamma is not None and gamma > 1:
        cause = f"the inner step is very long: lower --bilevel.gamma (now {gamma:g})"
    elif tau < 0.01:
        cause = f"the temperature is very low: raise --objective.tau (now {tau:g})"
    else:
        cause = f"the learning rate is probably too high: lower --optim.lr (this step: {lr:.3g})"
    return Diverged(f"step {step}: {broken} is not finite; {cause}; {kept}")


def state_diverged(step: int, names: Sequence[str], lr: float, kept: str) -> Diverged:
    """An error for a step whose loss and gradient were finite, but whose resulting state is not.

    Args:
        step: number of the step, from 1.
        names: names of the values that are not finite.
        lr: learning rate of the step.
        kept: what the checkpoint holds, in words.
    """
    return Diverged(
        f"after step {step} {some(names)} not finite; the learning rate is probably too high: "
        f"lower --optim.lr (this step: {lr:.3g}); {kept}"
    )
