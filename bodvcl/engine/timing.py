"""How long a step of a training takes on this device, measured before the training."""

from __future__ import annotations

import dataclasses
import time

import torch

from bodvcl.config.schema import TrainConfig
from bodvcl.data.clips.batch import ClipBatch, ClipParams
from bodvcl.engine.machinery import build_machinery
from bodvcl.engine.parts import PartProblems
from bodvcl.engine.ranks import Ranks
from bodvcl.engine.step import step_gradient

_FEW = 2
"""Videos of the first try."""
_QUICK = 0.5
"""Seconds below which the whole batch is tried, too."""


def step_seconds(config: TrainConfig, ranks: Ranks, processes: int | None = None) -> float:
    """Seconds that the gradient of a step takes, on clips of noise and without decoding.

    A slow CPU alone computes only :data:`_FEW` videos, and the seconds are in proportion. The state of
    PyTorch's random numbers is as before.

    Args:
        config: the options of the run.
        ranks: the processes that measure together; all of them call this.
        processes: number of processes that will share a batch. None: as many.
    """
    processes = processes or ranks.size
    one = dataclasses.replace(
        config, model=dataclasses.replace(config.model, weights=None), compile=False, shard=False
    )
    part = max(1 if processes > 1 else 2, config.batch_size // (processes * config.accumulate))
    with torch.random.fork_rng(devices=[ranks.device] if ranks.device.type == "cuda" else []):
        videos = min(_FEW, part) if ranks.size == 1 and ranks.device.type == "cpu" else part
        seconds = _seconds(one, videos, ranks)
        if videos < part and seconds < _QUICK:
            videos, seconds = part, _seconds(one, part, ranks)
    return seconds * config.batch_size / (videos * processes)


def _seconds(config: TrainConfig, videos: int, ranks: Ranks) -> float:
    """Seconds of the second of two steps with this many videos in each process."""
    machinery = build_machinery(config, ranks.device, ranks)
    batch = _noise(config, videos)
    for _ in range(2):
        machinery.trained.forget()
        start = time.perf_counter()
        found = step_gradient(
            machinery.solve,
            {**machinery.trained.solved},
            PartProblems(batch, 1, config.clip.views, lambda part: machinery.problem(part, health=False)),
            ranks,
            machinery.changing.scaler.scale if machinery.arithmetic.scaled else None,
            collect=machinery.collect,
        )
        found.values["loss"].item()  # waits for the device
        if ranks.device.type == "cuda":
            torch.cuda.synchronize(ranks.device)
        seconds = time.perf_counter() - start
    return seconds


def _noise(config: TrainConfig, videos: int) -> ClipBatch:
    """A batch of noise, augmented as the clips of a training are."""
    clip = config.clip
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
