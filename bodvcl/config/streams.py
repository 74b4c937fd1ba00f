"""What the static and the dynamic stream are and what they weigh, where an option says None."""

from __future__ import annotations

from typing import Literal

from bodvcl.config.schema import KoopmanConfig, ObjectiveConfig

STD_WEIGHT = 0.3
"""Weight of the loss of a dynamic stream that is a deviation over time. With 1 the encoder learns the motion
at the cost of what is in the video; docs/findings.md has both."""


def dynamic_stream(koopman: KoopmanConfig) -> Literal["mean", "std"]:
    """How the dynamic parts of the frames become the dynamic stream of a clip."""
    return koopman.dynamic or "std"


def static_stream(koopman: KoopmanConfig) -> Literal["part", "mean"]:
    """What the static stream of a clip is the mean of: the frames' static parts, or the frames."""
    return koopman.static or ("mean" if dynamic_stream(koopman) == "std" else "part")


def dynamic_weight(objective: ObjectiveConfig, koopman: KoopmanConfig) -> float:
    """Weight of the dynamic stream's loss beside that of the static stream."""
    if objective.dynamic_weight is not None:
        return objective.dynamic_weight
    return STD_WEIGHT if dynamic_stream(koopman) == "std" else 1.0
