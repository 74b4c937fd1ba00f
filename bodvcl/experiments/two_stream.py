r"""Section 5.5: a static and a dynamic network with one common loss, or with one loss each.

With the static network :math:`g_A` on the first frame and the dynamic network :math:`g_M` on the motion
field, the unified loss is InfoNCE of :math:`Z = g_A + g_M`, the decoupled one (Eq. 14)

.. math:: L_{sep} = L_{InfoNCE}(g_A) + L_{InfoNCE}(g_M) .
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from sklearn.linear_model import RidgeClassifierCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor
from torch.nn.utils import get_total_norm

from bodvcl.engine.precision import pick_arithmetic
from bodvcl.experiments.two_stream_data import SEMANTICS, Videos
from bodvcl.experiments.two_stream_nets import DynamicNet, StaticNet, TwoStreamNet
from bodvcl.ops.contrastive import info_nce

Loss = Literal["unified", "decoupled"]

CLIP_FRAMES = 8
MOTION_NOISE = 0.7
"""Standard deviation of the error of the motion field in pixels per frame, as if it were estimated from
noisy video. With 0.3, the trajectory can already be read from an untrained network. With 1.0 an untrained
network shows hardly less of it than with 0.7 (79 to 83% against 80 to 84%, seeds 0 to 2), and training is
only harder."""
WARMUP_STEPS = 30


@dataclass(frozen=True)
class Record:
    """Measurements at one step.

    Attributes:
        step: number of finished steps.
        accuracy: semantic to the test accuracy in [0, 1] of a linear probe on the concatenated features of
            both networks.
        gradient_norm: gradient norms of the static and of the dynamic network, mean over the steps since the
            last record; None before the first step.
        loss: sum of the losses, mean over the same steps; None before the first step.
    """

    step: int
    accuracy: dict[str, float]
    gradient_norm: tuple[float, float] | None
    loss: float | None


def train_two_stream(
    videos: Videos,
    probe: tuple[Videos, Videos],
    loss: Loss,
    *,
    seed: int,
    steps: int,
    every: int = 50,
    batch_size: int = 64,
    lr: float = 2e-3,
    tau: float = 0.1,
    progress: Callable[[int], object] = lambda _: None,
) -> list[Record]:
    """Pre-train both networks and probe them as they learn.

    Args:
        videos: training videos.
        probe: labelled videos that train and test the linear probe.
        loss: unified or decoupled.
        seed: seed of weights, batches, clips and augmentation, which are the same for both losses.
        steps: optimiser steps (AdamW, cosine).
        every: steps between two records.
        batch_size: videos per step, two clips of each.
        lr: peak learning rate.
        tau: temperature.
        progress: called with the number of each finished step.

    Returns:
        One record before training and one every `every` steps.
    """
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    nets = (StaticNet(), DynamicNet())
    parameters = [[*net.parameters()] for net in nets]
    optimizer = torch.optim.AdamW(itertools.chain(*parameters), lr=lr, weight_decay=1e-4)
    arithmetic = pick_arithmetic("auto", True, torch.device("cpu")).autocast
    names = ("video",) if loss == "unified" else ("static", "dynamic")
    records = [Record(0, probe_networks(nets, probe), None, None)]
    seen: list[tuple[float, float, float]] = []
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = lr * _schedule(step, steps)
        rows = torch.randperm(len(videos.frames), generator=generator)[:batch_size]
        views = [draw_clips(videos, rows, generator) for _ in range(2)]
        with torch.autocast("cpu", arithmetic, enabled=arithmetic is not None):
            static, dynamic = (net(torch.cat(inputs)).float() for net, inputs in zip(nets, zip(*views)))
        z = torch.stack([static + dynamic]) if loss == "unified" else torch.stack([static, dynamic])
        video, clip = rows.repeat(2), torch.arange(2 * len(rows))
        value = info_nce(
            z,
            z,
            query_video=video,
            key_video=video,
            query_clip=clip,
            key_clip=clip,
            temperature=tau,
            streams=names,
        ).sum()
        optimizer.zero_grad()
        value.backward()
        norms = [get_total_norm([p.grad for p in ps if p.grad is not None]).item() for ps in parameters]
        seen.append((norms[0], norms[1], value.item()))
        optimizer.step()
        progress(step + 1)
        if (step + 1) % every == 0:
            mean = np.mean(seen, axis=0)
            seen.clear()
            records.append(
                Record(
                    step + 1, probe_networks(nets, probe), (float(mean[0]), float(mean[1])), float(mean[2])
                )
            )
    return records


def draw_clips(videos: Videos, rows: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """A random clip of each video, randomly mirrored and rotated by quarter turns.

    Returns:
        First frames (B, 3, S, S), normalised; motion (B, 3, L, S / 2, S / 2).
    """
    count = len(rows)
    last = videos.frames.shape[1] - CLIP_FRAMES
    starts = torch.randint(0, last + 1, (count,), generator=generator)
    frames, motion = cut(videos, rows, starts, generator)
    quarters = torch.randint(0, 4, (count,), generator=generator)
    mirrored = torch.rand(count, generator=generator) < 0.5
    for quarter, mirror in itertools.product(range(4), (False, True)):
        chosen = (quarters == quarter) & (mirrored == mirror)
        frames[chosen], motion[chosen] = turn(frames[chosen], motion[chosen], quarter, mirror)
    contrast = 1 + 0.4 * (torch.rand(count, 1, 1, 1, generator=generator) - 0.5)
    tint = 0.1 * torch.randn(count, 3, 1, 1, generator=generator)
    return frames * contrast + tint + 0.1 * torch.randn(frames.shape, generator=generator), motion


def cut(videos: Videos, rows: Tensor, starts: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """The clips that begin at `starts`: normalised first frames, and motion with random error."""
    frames = videos.frames[rows, starts].permute(0, 3, 1, 2).float().div(255).sub(0.45).div(0.225)
    times = starts[:, None] + torch.arange(CLIP_FRAMES)
    motion = videos.motion[rows[:, None], times].float().permute(0, 2, 1, 3, 4)
    return frames, motion + MOTION_NOISE * torch.randn(motion.shape, generator=generator)


def turn(frames: Tensor, motion: Tensor, quarters: int, mirror: bool) -> tuple[Tensor, Tensor]:
    """Mirror left to right, then rotate counter-clockwise by quarter turns; motion vectors turn with the
    image."""
    right, down, light = motion.unbind(1)
    if mirror:
        frames = frames.flip(-1)
        right, down, light = -right.flip(-1), down.flip(-1), light.flip(-1)
    for _ in range(quarters):
        right, down = down, -right
    turned = torch.stack([right, down, light], 1).rot90(quarters, (-2, -1))
    return frames.rot90(quarters, (-2, -1)), turned


@torch.no_grad()
def probe_networks(nets: tuple[TwoStreamNet, TwoStreamNet], probe: tuple[Videos, Videos]) -> dict[str, float]:
    """Semantic to the test accuracy in [0, 1] of a linear classifier on features of clips without
    augmentation."""
    training = [net.training for net in nets]
    features = []
    for net in nets:
        net.eval()
    for videos in probe:
        rows = torch.arange(len(videos.frames))
        inputs = cut(videos, rows, torch.zeros_like(rows), torch.Generator().manual_seed(0))
        features.append(torch.cat([net.features(x) for net, x in zip(nets, inputs)], 1).numpy())
    for net, mode in zip(nets, training):
        net.train(mode)
    scores = {}
    for column, name in enumerate(SEMANTICS):
        classifier = make_pipeline(StandardScaler(), RidgeClassifierCV(np.logspace(-1, 5, 7)))
        classifier.fit(features[0], probe[0].labels[:, column])
        scores[name] = float(classifier.score(features[1], probe[1].labels[:, column]))
    return scores


def _schedule(step: int, steps: int) -> float:
    return min(1.0, (step + 1) / WARMUP_STEPS) * 0.5 * (1 + math.cos(math.pi * step / steps))
