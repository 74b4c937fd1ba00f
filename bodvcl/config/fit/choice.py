"""What the options of a run are chosen from, and the options while they are chosen."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bodvcl.config.schema import Fitted, TrainConfig


@dataclass(frozen=True)
class Footage:
    """The training videos.

    Attributes:
        frames: int (videos,), frames of each video.
        fps: float (videos,), frame rate of each video; 0: unknown.
        sided: a class whose name says left or right. None: there is none.
    """

    frames: NDArray[Any]
    fps: NDArray[Any]
    sided: str | None = None

    def __len__(self) -> int:
        return len(self.frames)


TYPICAL = Footage(np.full(10_000, 300), np.full(10_000, 30.0))
"""Videos that stand for others where only the options are to be checked."""


@dataclass(frozen=True)
class Machine:
    """What the run has.

    Attributes:
        gpu: whether it trains on GPUs.
        memory: bytes of one GPU; 0 without.
        processes: number of processes that share a batch.
    """

    gpu: bool
    memory: int = 0
    processes: int = 1


class Chosen:
    """Options of a run while they are chosen, and the reasons."""

    def __init__(self, config: TrainConfig) -> None:
        self.config = config
        self.reasons: dict[Fitted, str] = {}

    def opens(self, name: Fitted) -> bool:
        return name in self.config.fit

    def take(self, name: Fitted, value: Any, reason: str) -> None:
        """Give an option its value, unless the user has."""
        if not self.opens(name):
            return
        self.config = with_value(self.config, name, value)
        self.reasons[name] = reason


def with_value(config: TrainConfig, name: Fitted, value: Any) -> TrainConfig:
    """The options with another value of one of them, by its dotted name."""
    group, _, field = name.rpartition(".")
    if not group:
        return dataclasses.replace(config, **{field: value})
    changed = dataclasses.replace(getattr(config, group), **{field: value})
    return dataclasses.replace(config, **{group: changed})


def value_of(config: TrainConfig, name: Fitted) -> Any:
    """The value of an option by its dotted name."""
    found: Any = config
    for part in name.split("."):
        found = getattr(found, part)
    return found
