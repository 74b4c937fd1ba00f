"""Facts about the bi-level step: which passes of the backbone each solver takes. Needs no PyTorch."""

from __future__ import annotations

from typing import NamedTuple

from bodvcl.config.methods import WHOLE_CLIP
from bodvcl.config.schema import BilevelConfig, TrainConfig

TWICE = ("itd", "hvp", "cg", "neumann")
"""Solvers that differentiate the lower loss twice."""


class Passes(NamedTuple):
    """Number of passes of the backbone in one step.

    Attributes:
        forward: forward passes; the plain method takes one.
        backward: backward passes; the plain method takes one.
        double: backward passes through a backward pass.
    """

    forward: int
    backward: int
    double: int = 0


def bilevel_of(config: TrainConfig) -> BilevelConfig | None:
    """The bi-level options of a run. None: the run has no lower level."""
    return None if config.decouple == "none" else config.bilevel


def passes(config: BilevelConfig | None) -> Passes:
    """Passes of the backbone per step, for the options of a lower level. None: no lower level."""
    if config is None or config.solver == "single" or config.scope == "head":
        return Passes(1, 1)
    n = config.inner_steps
    again, double = {
        "first_order": (0, 0),
        "fd": (n, 0),
        "fd_central": (2 * n, 0),
        "itd": (0, n),
        "hvp": (n, n),
        "cg": (1, config.iterations),
        "neumann": (1, config.iterations),
    }[config.solver]
    return Passes(n + 1 + again, n + 1 + again, double)


def backbone_passes_alone(config: TrainConfig) -> bool:
    """Whether a step passes the backbone once, forward and backward, and losses and solver see only its
    features."""
    return passes(bilevel_of(config)) == Passes(1, 1) and config.method not in WHOLE_CLIP


def differentiates_twice(config: TrainConfig) -> bool:
    """Whether a step differentiates the lower loss twice, at least through the projector."""
    return config.decouple != "none" and config.bilevel.solver in TWICE
