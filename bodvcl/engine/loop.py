"""The training loop: from a configuration to a trained encoder and a run folder."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from bodvcl.bilevel.solvers import make_solver
from bodvcl.config.parse import dump_yaml
from bodvcl.config.passes import bilevel_of, differentiates_twice, passes
from bodvcl.config.schema import TrainConfig
from bodvcl.data.clips.augment import finish
from bodvcl.data.clips.batch import ClipBatch
from bodvcl.data.files.video_list import VideoList
from bodvcl.data.sources.source import ClipSource
from bodvcl.engine.assemble import build_learner, loss_options, synchronises_norms
from bodvcl.engine.checkpoint import (
    LAST,
    Changing,
    checkpoint_state,
    load_checkpoint,
    save_encoder,
    seed_rank,
)
from bodvcl.engine.compiled import compile_backbone
from bodvcl.engine.device import pick_device
from bodvcl.engine.flops import forward_flops, step_flops
from bodvcl.engine.guard import Diverged, Overflows, diagnose
from bodvcl.engine.metrics import LogError
from bodvcl.engine.parts import PartProblems, videos_of
from bodvcl.engine.precision import pick_arithmetic, pick_lower, set_float32
from bodvcl.engine.problem import BatchProblem
from bodvcl.engine.ranks import PeerFailed, Ranks, World
from bodvcl.engine.reporter import Reporter
from bodvcl.engine.saving import Saver
from bodvcl.engine.signals import StopRequest
from bodvcl.engine.step import step_gradient
from bodvcl.engine.sync_norm import synchronise_norms
from bodvcl.errors import CheckpointError
from bodvcl.models.encoder import VideoEncoder
from bodvcl.models.layout import memory_layout
from bodvcl.optim.factory import make_optimizer
from bodvcl.optim.schedule import batch_factor, learning_rate, rising_steps

_MUST_BE_FINITE = ("loss", "grad_norm")


@dataclass
class TrainingOutcome:
    """How a training ended.

    Attributes:
        step: steps that are done.
        total: steps of the whole run.
        seconds: time since the start or the last resume.
        signal: number of the signal that stopped the training early; None: it is complete.
        encoder: the trained encoder.
    """

    step: int
    total: int
    seconds: float
    signal: int | None
    encoder: VideoEncoder


class Trainer:
    """Trains an encoder. It builds the parts of the training and gives each the options that it uses.

    Args:
        config: configuration of the run.
        source: source of the clips; it gives this rank's share of every batch.
        run_dir: folder of the run.
        ranks: the processes that train together. None: this process alone.
        videos: list of the training videos, which is saved in every checkpoint. None: the configuration
            determines them.

    Raises:
        ConfigError: this machine lacks the arithmetic, the optimiser or the compiler that was asked for.

    Attributes:
        learner: the modules that are trained.
        optimizer: the optimiser.
        scaler: the loss scale, for float16.
        step: steps that are done.
        planned: steps of the learning-rate schedule.
        total: steps of the run: ``planned``, or ``max_steps`` where that is less.
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
        bilevel = bilevel_of(config)
        self.lower = pick_lower(config.lower_precision, bilevel, self.arithmetic, self.device)
        set_float32(self.arithmetic, self.lower)
        torch.backends.cudnn.benchmark = config.fast
        self.layout = memory_layout(config.fast)
        self.learner = build_learner(config).to(self.device).to(memory_format=self.layout).train()
        self._loss_options = loss_options(config)
        if self.ranks.size > 1 and synchronises_norms(config):
            plain = self.device.type == "cpu" or differentiates_twice(config)
            synchronise_norms(self.learner, plain)
        if config.compile:
            compile_backbone(self.learner.encoder, self.device)
        self._factor = batch_factor(config.optim, config.batch_size)
        self.optimizer = make_optimizer(
            self.learner.trainable().values(), config.optim, config.optim.lr * self._factor, config.fast
        )
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.arithmetic.scaled)
        self._changing = Changing(self.learner, self.optimizer, self.scaler)
        self.solve = make_solver(bilevel, self.ranks.mean)
        self.planned = config.epochs * source.steps_per_epoch
        self.total = self.planned if config.max_steps is None else min(self.planned, config.max_steps)
        self.step = 0
        if not self.ranks.first:
            seed_rank(config.seed, self.ranks.rank, 0)
        self._saver = Saver(
            run_dir, self._state, config.log, source.steps_per_epoch, self.total, writes=self.ranks.first
        )
        self._overflows = Overflows()
        self._usual_norm: float | None = None

    def resume(self) -> list[str]:
        """Continue from the run's checkpoint, if there is one. Returns one line per option that has changed.

        Raises:
            CheckpointError: the checkpoint cannot be read, or does not belong to this run.
        """
        if not (self.run_dir / LAST).exists():
            return []
        self.step, changed = load_checkpoint(
            self.run_dir,
            self._changing,
            dump_yaml(self.config),
            self.config.seed,
            self.ranks,
            self.videos,
            accept_other_videos=self.config.resume_with_other_videos,
        )
        return changed

    def _state(self) -> dict[str, Any]:
        return checkpoint_state(
            self._changing, self.step, dump_yaml(self.config), self.ranks.size, self.videos
        )

    def run(self) -> TrainingOutcome:
        """Train to the end, or until a signal asks to stop. Both ways the state is saved.

        Raises:
            Diverged: a loss, a gradient or the state is not finite. The last finite state is saved, if there
                is one.
            CheckpointError: a checkpoint cannot be written.
            LogError: the log cannot be written. The state is saved, if the disk has room for it.
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
                    self._saver.before_step(self.step + 1)
                    values = self._train_step(videos_of(batch, 0, fewest, self.config.clip.views), report)
                    self._tell(report, values, len(batch.clips))
                    if self._saver.is_due(self.step):
                        self._save_and_keep()
                self._save_and_keep()
                if self.ranks.first:
                    save_encoder(
                        self.run_dir,
                        self.step,
                        dump_yaml(self.config),
                        self.config.model,
                        self.learner.encoder,
                    )
        finally:
            self.source.close()
        seconds = time.perf_counter() - start
        return TrainingOutcome(self.step, self.total, seconds, signal or None, self.learner.encoder)

    def _reporter(self) -> Reporter:
        config = self.config
        return Reporter(
            config.log,
            self.run_dir,
            self.device,
            yaml.safe_load(dump_yaml(config)),
            speaks=self.ranks.first,
            world_size=self.ranks.size,
            step=self.step,
            total=self.total,
            clip_flops=step_flops(forward_flops(config.model, config.clip), passes(bilevel_of(config))),
            arithmetic=self.arithmetic.name,
        )

    def _tell(self, report: Reporter, values: Mapping[str, float], clips: int) -> None:
        try:
            report.step(self.step, values, clips)
        except LogError:
            if self.ranks.size == 1:  # with several ranks all would have to take part
                with contextlib.suppress(CheckpointError):  # the same disk is full
                    self._saver.save()
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
        """Whether the present step will be logged."""
        return (self.step + 1) % self.config.log.every == 0 or self.step + 1 == self.total

    def _save_and_keep(self) -> None:
        self.ranks.average_statistics(self.learner)
        self._saver.save_and_keep(self.step, self.optimizer.param_groups[0]["lr"])

    def _train_step(self, batch: ClipBatch, report: Reporter) -> dict[str, float]:
        config, params = self.config, self.learner.trainable()
        problems = PartProblems(batch, config.accumulate, config.clip.views, self._problem)
        scale = self.scaler.scale if self.arithmetic.scaled else None
        found = step_gradient(self.solve, {**params}, problems, self.ranks, scale)
        lr = self._set_learning_rate()
        for name, p in params.items():
            p.grad = found.gradient[name]
        self.scaler.unscale_(self.optimizer)
        norm = get_total_norm([p.grad for p in params.values() if p.grad is not None])
        values = _floats(found.values | {"grad_norm": norm})
        broken = [
            name for name in values if name.startswith(_MUST_BE_FINITE) and not math.isfinite(values[name])
        ]
        if broken == ["grad_norm"] and self.arithmetic.scaled and self._overflows.tolerated():
            self.scaler.update()
            report.note(self._overflows.sentence(self.step + 1, self.scaler.get_scale()))
        elif broken:
            problems.undo_buffers()
            diagnosis = self._diagnosis(batch, values, lr, self._saver.rescue())
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

    def _problem(self, part: ClipBatch) -> BatchProblem:
        config = self.config
        clips = finish(part, config.augment, self.device, self.layout, fast=config.fast)
        return BatchProblem(
            self.learner,
            clips,
            part.videos.to(self.device).repeat_interleave(config.clip.views),
            self._loss_options,
            self.arithmetic.autocast,
            lower_autocast=self.lower.autocast,
            health=self._is_logged(),
        )

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
        config, bilevel = self.config, bilevel_of(self.config)
        clips = finish(batch, config.augment, self.device, self.layout, fast=config.fast)
        (clips_are_finite,) = self.ranks.least(int(torch.isfinite(clips).all()))
        return diagnose(
            self.step + 1,
            values,
            bool(clips_are_finite),
            self.learner,
            lr,
            None if bilevel is None or bilevel.solver == "single" else bilevel.gamma,
            config.objective.tau,
            self._usual_norm,
            self._overflows,
            kept,
        )


def _floats(tensors: Mapping[str, Tensor]) -> dict[str, float]:
    """All values as floats, with one transfer from the device."""
    return dict(zip(tensors, torch.stack([t.double() for t in tensors.values()]).tolist()))
