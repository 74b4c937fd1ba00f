"""Which bi-level steps there are, and what they cost. Light: the command line reads it before PyTorch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from bodvcl.config.schema import BilevelConfig, TrainConfig

TWICE = ("itd", "hvp", "cg", "neumann")
"""Solvers that differentiate the lower loss twice."""


class Passes(NamedTuple):
    """Passes of the backbone in one step.

    Attributes:
        forward, backward: as the plain method's one forward and one backward pass.
        double: backward passes through a backward pass.
    """

    forward: int
    backward: int
    double: int = 0


def bilevel_of(config: TrainConfig) -> BilevelConfig | None:
    """The bi-level options of a run; None where it has no lower level."""
    return None if config.decouple == "none" else config.bilevel


def passes(config: BilevelConfig | None) -> Passes:
    """Passes of the backbone per step. None: no lower level."""
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


def differentiates_twice(config: TrainConfig) -> bool:
    """Whether a step differentiates the lower loss twice, at least through the projector."""
    return config.decouple != "none" and config.bilevel.solver in TWICE


def bilevel_contradictions(config: TrainConfig) -> Iterator[str]:
    """One line for everything about the bi-level step that cannot be: what is wrong, and what to change."""
    if config.decouple == "none":
        return
    yield from step_contradictions(config.bilevel)
    if config.compile and differentiates_twice(config) and config.bilevel.scope == "all":
        yield (
            f"compile with bilevel.solver {config.bilevel.solver}: torch.compile cannot differentiate the "
            "backbone twice; use solver fd, or scope head, or --no-compile"
        )


def step_contradictions(config: BilevelConfig) -> Iterator[str]:
    """What contradicts itself in the bi-level options alone."""
    if config.solver == "single":
        for name, is_set, value in (
            ("inner_steps", config.inner_steps != 1, config.inner_steps),
            ("max_inner_norm", config.max_inner_norm is not None, config.max_inner_norm),
        ):
            if is_set:
                yield (
                    f"bilevel.{name}: solver single has no inner step, so {name} means nothing; leave it "
                    f"out, or use another solver; got {value}"
                )
    if config.solver == "cg" and config.iterations < 2:
        yield (
            "bilevel.iterations: one iteration of conjugate gradients returns a multiple of the first-order "
            f"direction; use at least 2, or solver first_order; got {config.iterations}"
        )
