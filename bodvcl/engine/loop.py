"""Pre-training, from a configuration to a run folder."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from bodvcl.bilevel.solvers import make_solver
from bodvcl.config.passes import bilevel_of, differentiates_twice, passes
from bodvcl.config.schema import TrainConfig
from bodvcl.data.clips.augment import finish
from bodvcl.data.clips.batch import ClipBatch
from bodvcl.data.files.video_list import VideoList
from bodvcl.data.sources.source import ClipSource
from bodvcl.engine.checkpoint import (
    LAST,
    NotFinite,
    checkpoint_state,
    keep_checkpoint,
    load_checkpoint,
    save_checkpoint,
    save_encoder,
    saved_step,
    seed_rank,
)
from bodvcl.engine.compiled import compile_backbone
from bodvcl.engine.device import pick_device
from bodvcl.engine.finite import copied
from bodvcl.engine.flops import forward_flops, step_flops
from bodvcl.engine.guard import Diverged, Overflows, diagnose, state_diverged
from bodvcl.engine.learner import build_learner
from bodvcl.engine.metrics import LogError
from bodvcl.engine.precision import pick_arithmetic, pick_lower, set_float32
from bodvcl.engine.problem import BatchProblem
from bodvcl.engine.ranks import PeerFailed, Ranks, World
from bodvcl.engine.reporter import Reporter
from bodvcl.engine.signals import StopRequest
from bodvcl.engine.step import parts_of, step_gradient, videos_of
from bodvcl.engine.sync_norm import synchronise_norms
from bodvcl.errors import CheckpointError
from bodvcl.models.encoder import VideoEncoder
from bodvcl.models.layout import memory_layout
from bodvcl.optim.factory import make_optimizer
from bodvcl.optim.schedule import batch_factor, learning_rate, rising_steps
from bodvcl.text.words import counted

_MUST_BE_FINITE = ("loss", "grad_norm")


@dataclass
class Outcome:
    """How training ended.

    Attributes:
        step: steps done in all.
        total: steps of the whole run.
        seconds: time spent in this process.
        signal: number of the signal that stopped it early, or None.
        encoder: the trained encoder.
    """

    step: int
    total: int
    seconds: float
    signal: int | None
    encoder: VideoEncoder


def passes_per_step(config: TrainConfig) -> tuple[int, int]:
    """Forward and backward passes of the backbone in one step."""
    forward, backward, _ = passes(bilevel_of(config))
    return forward, backward


class Trainer:
    """Holds what a step changes: learner, optimiser, loss scale, and the step count.

    Args:
        config: what to train.
        source: where the clips come from; this rank's share of every batch.
        run_dir: an open run folder.
        ranks: the processes that train together. None: this one alone.
        videos: that the clips are of, kept in every checkpoint. None: the configuration says it all.

    Raises:
        ConfigError: an arithmetic, an optimiser or a compiler that this machine lacks.
    """

    def __init__(
        self,
        config: TrainConfig,
        source: ClipSource,
        run_dir: Path,
        ranks: Ranks | None = None,
        videos: VideoList | None = None,
    ) -> None:
        self.config, self.source, self.run_dir, self.videos = config, source, run_dir, videos
        self.device = pick_device(config.device) if ranks is None else ranks.device
        self.ranks = ranks or Ranks(World(), self.device)
        self.arithmetic = pick_arithmetic(config.precision, config.fast, self.device)
        self.lower = pick_lower(config, self.arithmetic, self.device)
        set_float32(self.arithmetic, self.lower)
        torch.backends.cudnn.benchmark = config.fast
        self.layout = memory_layout(config.fast)
        self.learner = build_learner(config).to(self.device, memory_format=self.layout).train()
        if self.ranks.size > 1 and _synchronised(config):
            plain = self.device.type == "cpu" or differentiates_twice(config)
            synchronise_norms(self.learner, plain)
        if config.compile:
            compile_backbone(self.learner.encoder, self.device)
        self._factor = batch_factor(config.optim, config.batch_size)
        self.optimizer = make_optimizer(
            self.learner.trainable().values(), config.optim, config.optim.lr * self._factor, config.fast
        )
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.arithmetic.scaled)
        self.solve = make_solver(bilevel_of(config), self.ranks.mean)
        self.planned = config.epochs * source.steps_per_epoch
        self.total = self.planned if config.max_steps is None else min(self.planned, config.max_steps)
        self.step = 0
        if not self.ranks.first:
            seed_rank(config.seed, self.ranks.rank, 0)
        self._overflows = Overflows()
        self._usual_norm: float | None = None
        self._before: dict[str, Any] | None = None

    def resume(self) -> list[str]:
        """Continue from the run's checkpoint, where there is one; returns the options that changed since."""
        if not (self.run_dir / LAST).exists():
            return []
        self.step, changed = load_checkpoint(
            self.run_dir,
            self.config,
            self.learner,
            self.optimizer,
            self.scaler,
            self.ranks,
            self.device,
            self.videos,
        )
        return changed

    def save(self) -> None:
        """Write the checkpoint, on rank 0.

        Raises:
            NotFinite: the state holds NaN or infinities; the previous checkpoint is untouched.
            CheckpointError: it cannot be written; the previous checkpoint is untouched.
        """
        if self.ranks.first:
            save_checkpoint(self.run_dir, self._state())

    def _state(self) -> dict[str, Any]:
        return checkpoint_state(
            self.step, self.config, self.learner, self.optimizer, self.scaler, self.ranks, self.videos
        )

    def run(self) -> Outcome:
        """Train to the end, or until a signal asks to stop; the state is saved either way.

        Raises:
            Diverged: a loss, a gradient or the state is not finite; a state before that is saved, if any is
                finite.
            CheckpointError: a checkpoint could not be written.
            LogError: the log could not be written; where there was room, the state has been saved.
        """
        start = time.perf_counter()
        signal = 0
        try:
            with (
                StopRequest() as stop,
                self._reporter() as report,
            ):
                batches = self._batches(report)
                while self.step < self.total:
                    batch = next(batches)
                    fewest, least = self.ranks.least(len(batch.videos), -(stop.signal or 0))
                    signal = -least
                    if signal:
                        break
                    self._before = self._copy_if_saved_next()
                    values = self._train_step(videos_of(batch, 0, fewest, self.config.clip.views), report)
                    self._tell(report, values, len(batch.clips))
                    if self._save_is_due(self.step):
                        self._save_and_keep()
                self._save_and_keep()
                if self.ranks.first:
                    save_encoder(self.run_dir, self.step, self.config, self.learner.encoder)
        finally:
            self.source.close()
        seconds = time.perf_counter() - start
        return Outcome(self.step, self.total, seconds, signal or None, self.learner.encoder)

    def _reporter(self) -> Reporter:
        config = self.config
        return Reporter(
            config,
            self.run_dir,
            self.device,
            speaks=self.ranks.first,
            world_size=self.ranks.size,
            step=self.step,
            total=self.total,
            clip_flops=step_flops(forward_flops(config.model, config.clip), passes_per_step(config)),
            arithmetic=self.arithmetic.name,
        )

    def _tell(self, report: Reporter, values: Mapping[str, float], clips: int) -> None:
        try:
            report.step(self.step, values, clips)
        except LogError:
            if self.ranks.size == 1:  # else the others would have to take part
                with contextlib.suppress(CheckpointError):  # where the log was full, so is this
                    self.save()
            raise

    def _batches(self, report: Reporter) -> Iterator[ClipBatch]:
        while True:
            epoch, position = divmod(self.step, self.source.steps_per_epoch)
            batches = iter(self.source.epoch(epoch, position))
            while True:
                with report.waiting():
                    batch = next(batches, None)
                if batch is None:
                    break
                yield batch

    def _is_logged(self) -> bool:
        """Whether the step under way will be in the log."""
        return (self.step + 1) % self.config.log.every == 0 or self.step + 1 == self.total

    def _save_is_due(self, step: int) -> bool:
        log = self.config.log
        due = step % log.save_every == 0
        if log.keep_every is not None:
            due |= step % (log.keep_every * self.source.steps_per_epoch) == 0
        return due and step < self.total

    def _copy_if_saved_next(self) -> dict[str, Any] | None:
        """The state as it is, where it is saved after the next step: in case that it is not finite then."""
        follows = self.step + 1 == self.total or self._save_is_due(self.step + 1)
        return copied(self._state()) if follows and self.ranks.first else None

    def _save_and_keep(self) -> None:
        self.ranks.average_statistics(self.learner)
        try:
            self.save()
        except NotFinite as found:
            kept = self._save_if_finite(self._before)
            lr = self.optimizer.param_groups[0]["lr"]
            raise state_diverged(self.step, found.names, lr, kept) from found
        if self.ranks.first:
            keep_checkpoint(self.run_dir, self.step, self.config.log, self.source.steps_per_epoch)

    def _save_if_finite(self, state: dict[str, Any] | None) -> str:
        """Save a state unless it is not finite; what the checkpoint holds then, in words."""
        if state is not None:
            with contextlib.suppress(NotFinite):
                save_checkpoint(self.run_dir, state)
        step = saved_step(self.run_dir)
        if step is None:
            return "no checkpoint has been written"
        return f"{self.run_dir / LAST} holds the state after {counted(step, 'step')}"

    def _train_step(self, batch: ClipBatch, report: Reporter) -> dict[str, float]:
        config, params = self.config, self.learner.trainable()
        first, problems = self._problems(batch)
        scale = self.scaler.scale if self.arithmetic.scaled else None
        found = step_gradient(self.solve, params, problems, self.ranks, scale)
        lr = self._set_learning_rate()
        for name, p in params.items():
            p.grad = found.gradient[name]
        self.scaler.unscale_(self.optimizer)
        norm = get_total_norm([p.grad for p in params.values()])
        values = _floats(found.values | {"grad_norm": norm})
        broken = [
            name for name in values if name.startswith(_MUST_BE_FINITE) and not math.isfinite(values[name])
        ]
        if broken == ["grad_norm"] and self.arithmetic.scaled and self._overflows.tolerated():
            self.scaler.update()
            report.note(self._overflows.sentence(self.step + 1, self.scaler.get_scale()))
        elif broken:
            first[0].undo_buffers()
            kept = self._save_if_finite(self._state()) if self.ranks.first else ""
            diagnosis = self._diagnosis(batch, values, lr, kept)
            raise diagnosis if self.ranks.first else PeerFailed
        else:
            if config.optim.clip_norm is not None:
                clip_grads_with_norm_(params.values(), config.optim.clip_norm, norm)
            self.optimizer.step()
            self.scaler.update()
            self._overflows.in_a_row = 0
            self.learner.after_step(found.keys, (self.step + 1) / self.planned)
            earlier = values["grad_norm"] if self._usual_norm is None else self._usual_norm
            self._usual_norm = 0.9 * earlier + 0.1 * values["grad_norm"]
        if self.arithmetic.scaled:
            values |= {"loss_scale": self.scaler.get_scale(), "skipped_steps": self._overflows.count}
        epoch = self.step / self.source.steps_per_epoch
        self.step += 1
        return values | {"epoch": epoch, "lr": lr}

    def _problems(self, batch: ClipBatch) -> tuple[list[BatchProblem], Iterator[tuple[float, BatchProblem]]]:
        """The first problem once there is one, and share and problem of every part when it is its turn."""
        config, first = self.config, []

        def in_turn() -> Iterator[tuple[float, BatchProblem]]:
            for part in parts_of(batch, config.accumulate, config.clip.views):
                clips = finish(part, config.augment, self.device, self.layout, fast=config.fast)
                videos = part.videos.to(self.device).repeat_interleave(config.clip.views)
                problem = BatchProblem(
                    self.learner,
                    clips,
                    videos,
                    config,
                    self.arithmetic.autocast,
                    lower_autocast=self.lower.autocast,
                    health=self._is_logged(),
                )
                if not first:
                    first.append(problem)
                yield len(part.videos) / len(batch.videos), problem

        return first, in_turn()

    def _set_learning_rate(self) -> float:
        optim = self.config.optim
        lr = learning_rate(
            self.step,
            self.planned,
            optim.lr * self._factor,
            rising_steps(optim, self.planned, self.source.steps_per_epoch),
            optim.warmup_lr * self._factor,
            optim.cosine_from_start,
        )
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        return lr

    def _diagnosis(self, batch: ClipBatch, values: dict[str, float], lr: float, kept: str) -> Diverged:
        clips = finish(batch, self.config.augment, self.device, self.layout, fast=self.config.fast)
        (clips_are_finite,) = self.ranks.least(int(torch.isfinite(clips).all()))
        return diagnose(
            self.step + 1,
            values,
            bool(clips_are_finite),
            self.learner,
            self.config,
            lr,
            self._usual_norm,
            self._overflows,
            kept,
        )


def _floats(tensors: Mapping[str, Tensor]) -> dict[str, float]:
    """All values with one transfer from the device."""
    return dict(zip(tensors, torch.stack([t.double() for t in tensors.values()]).tolist()))


def _synchronised(config: TrainConfig) -> bool:
    return config.method != "moco" if config.sync_norm is None else config.sync_norm
