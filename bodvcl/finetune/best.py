"""The weights of the epoch with the best validation, in a file of their own."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

import bodvcl
from bodvcl.engine.checkpoint.file import FORMAT, read_state, write_state

BEST = Path("checkpoint") / "best.pt"
"""Relative to the run folder."""


class Best(NamedTuple):
    """The best validation so far.

    Attributes:
        step: steps that were done.
        name: name of the metric.
        value: its value.
    """

    step: int
    name: str
    value: float


def better(before: Best | None, step: int, metrics: Mapping[str, float]) -> Best | None:
    """The new best validation; None: these metrics are none. The first metric decides, the earlier of equals
    stays, and NaN is never the best."""
    name, value = next(iter(metrics.items()))
    if math.isnan(value) or (before is not None and value <= before.value):
        return None
    return Best(step, name, value)


def save_best(run_dir: Path, best: Best, model: nn.Module) -> None:
    """Write the weights of the best epoch.

    Raises:
        NotFinite: they are not finite.
        CheckpointError: they cannot be written.
    """
    state = {"format": FORMAT, "version": bodvcl.__version__, "step": best.step, "model": model.state_dict()}
    write_state(run_dir / BEST, state)


def load_best(run_dir: Path, model: nn.Module, device: torch.device) -> None:
    """Put the weights of the best epoch into the model.

    Raises:
        CheckpointError: they cannot be read.
    """
    model.load_state_dict(read_state(run_dir / BEST, device)["model"])
