"""How long a step of a training takes on this device, measured before the training."""

from __future__ import annotations

import dataclasses
import time

import torch

from bodvcl.config.schema import TrainConfig
from bodvcl.data.clips.batch import ClipBatch, ClipParams
from bodvcl.engine.machinery import build_machinery
from bodvcl.engine.parts import PartProblems
from bodvcl.engine.ranks import Ranks, World
from bodvcl.engine.step import step_gradient

_FEW = 2
"""Videos of the first try."""
_QUICK = 0.5
"""Seconds below which the whole batch is tried, too."""


def step_seconds(config: TrainConfig, device: torch.device, processes: int = 1) -> float:
    """Seconds that the gradient of a step takes, on clips of noise, without decoding and other processes.

    A slow CPU computes only :data:`_FEW` videos, and the seconds are in proportion. The state of PyTorch's
    random numbers is as before.

    Args:
        config: the options of the run.
        device: where it trains.
        processes: number of processes that share a batch.
    """
    one = dataclasses.replace(
        config,
        model=dataclasses.replace(config.model, weights=None),
        batch_size=config.batch_size // processes,
        accumulate=1,
        compile=False,
        shard=False,
    )
    part = max(2, one.batch_size // config.accumulate)
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        few = min(_FEW, part)
        seconds = _seconds(dataclasses.replace(one, batch_size=few), device)
        if few < part and (device.type == "cuda" or seconds < _QUICK):
            few, seconds = part, _seconds(dataclasses.replace(one, batch_size=part), device)
    return seconds * one.batch_size / few


def _seconds(config: TrainConfig, device: torch.device) -> float:
    """Seconds of the second of two steps."""
    machinery = build_machinery(config, device, Ranks(World(), device))
    batch = _noise(config)
    for _ in range(2):
        machinery.trained.forget()
        start = time.perf_counter()
        problems = PartProblems(
            batch, 1, config.clip.views, lambda part: machinery.problem(part, health=False)
        )
        scale = machinery.changing.scaler.scale if machinery.arithmetic.scaled else None
        found = step_gradient(
            machinery.solve, {**machinery.trained.solved}, problems, Ranks(World(), device), scale
        )
        found.values["loss"].item()  # waits for the device
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds = time.perf_counter() - start
    return seconds


def _noise(config: TrainConfig) -> ClipBatch:
    """A batch of noise, augmented as the clips of a training are."""
    clip, videos = config.clip, config.batch_size
    count = videos * clip.views
    return ClipBatch(
        torch.randint(0, 256, (count, clip.frames, clip.size, clip.size, 3), dtype=torch.uint8),
        ClipParams(
            torch.eye(3, 4).expand(count, 3, 4),
            torch.zeros(count, dtype=torch.bool),
            torch.ones(count) if config.augment.blur else torch.zeros(count),
            torch.full((count,), config.augment.mix / 2),
            torch.rand(count, 2),
        ),
        torch.arange(videos),
        torch.zeros(count, clip.frames, dtype=torch.int64),
    )
