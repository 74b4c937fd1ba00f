"""``--by``: the weight of motion in a score."""

from __future__ import annotations

from bodvcl.errors import ConfigError
from bodvcl.search.looks import APPEARANCE, MOTION

BY = {APPEARANCE: 0.0, MOTION: 1.0, "both": 0.5}


def weight_of_motion(by: str) -> float:
    """The weight w in [0, 1] of ``appearance``, ``motion``, ``both`` or a number.

    Raises:
        ConfigError: none of these.
    """
    if by in BY:
        return BY[by]
    try:
        weight = float(by)
    except ValueError:
        weight = -1.0
    if not 0 <= weight <= 1:
        raise ConfigError(
            f"--by {by}: expected appearance, motion, both, or the weight of motion, a number from 0 to 1"
        )
    return weight


def by_words(motion: float) -> str:
    """A weight in a sentence: "appearance", "appearance and motion", "0.7 appearance + 0.3 motion"."""
    if motion in (0, 1):
        return MOTION if motion else APPEARANCE
    if motion == 0.5:
        return f"{APPEARANCE} and {MOTION}"
    return f"{1 - motion:.4g} {APPEARANCE} + {motion:.4g} {MOTION}"
