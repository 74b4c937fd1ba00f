"""What is refused, and what is said, before anything is trained."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from bodvcl.cli.announce import announcement
from bodvcl.config.schema import BilevelConfig, ModelConfig, TrainConfig
from bodvcl.engine.ranks import World
from bodvcl.errors import CheckpointError, ConfigError

CPU = torch.device("cpu")
CONFIG = TrainConfig(dry_run=True)


@pytest.mark.parametrize(
    ("config", "world_size", "error", "message"),
    [
        (
            replace(CONFIG, lower_precision="tf32"),
            1,
            ConfigError,
            "--lower-precision tf32: a CPU has no TF32",
        ),
        (
            replace(CONFIG, precision="bf16", lower_precision="upper"),
            1,
            ConfigError,
            "solver fd takes differences",
        ),
        (replace(CONFIG, batch_size=33), 2, ConfigError, "33 videos cannot be shared equally by 2 processes"),
        (
            replace(CONFIG, sync_norm_group=3),
            4,
            ConfigError,
            "--sync-norm-group 3: 4 processes cannot form groups of 3; expected one of 1, 2, 4, or all",
        ),
        (
            replace(CONFIG, model=ModelConfig(backbone="slow_r50", weights="nowhere.pyth")),
            1,
            CheckpointError,
            "cannot read weights nowhere.pyth: No such file",
        ),
    ],
)
def test_a_dry_run_refuses_what_training_would(config, world_size, error, message):
    with pytest.raises(error, match=message):
        announcement(config, CPU, World(size=world_size))


@pytest.mark.parametrize(
    ("scope", "counted"),
    [("head", "1 forward and 1 backward pass a step"), ("all", "3 forward and 3 backward passes a step")],
)
@pytest.mark.parametrize(("method", "momentum"), [("simclr", False), ("moco", True), ("byol", True)])
def test_passes_and_memory_are_announced(method, momentum, scope, counted):
    lines = announcement(replace(CONFIG, method=method, bilevel=BilevelConfig(scope=scope)), CPU, World())
    (passes,) = [line for line in lines if counted in line]
    assert ("1 forward pass of the momentum encoder" in passes) == momentum
    assert any(line.startswith("estimated memory") for line in lines)
