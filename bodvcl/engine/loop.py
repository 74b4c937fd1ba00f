"""Pre-training, from a configuration to a run folder."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from bodvcl.bilevel.solvers import PASSES, make_solver
from bodvcl.config import TrainConfig
from bodvcl.data.augment import finish
from bodvcl.data.loader import ClipBatch, ClipLoader
from bodvcl.engine.checkpoint import LAST, load_checkpoint, save_checkpoint, save_encoder
from bodvcl.engine.device import pick_device, use_bf16
from bodvcl.engine.guard import diagnose
from bodvcl.engine.learner import build_learner
from bodvcl.engine.metrics import MetricsLog, ProgressLine, Stopwatch
from bodvcl.engine.problem import BatchProblem
from bodvcl.engine.schedule import learning_rate, make_optimizer
from bodvcl.engine.signals import StopRequest
from bodvcl.models.encoder import VideoEncoder
from bodvcl.models.layout import memory_layout


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


def solver_name(config: TrainConfig) -> str:
    """Name of the bi-level solver that a configuration uses; "plain" without a lower level."""
    return "plain" if config.decouple == "none" else config.bilevel.solver


class Trainer:
    """Holds what a step changes: learner, optimiser, and the step count.

    Args:
        config: what to train.
        loader: where the clips come from.
        run_dir: an open run folder.
    """

    def __init__(self, config: TrainConfig, loader: ClipLoader, run_dir: Path) -> None:
        self.config, self.loader, self.run_dir = config, loader, run_dir
        self.device = pick_device(config.device)
        self.autocast = torch.bfloat16 if use_bf16(config.precision, config.fast, self.device) else None
        self.learner = build_learner(config).to(self.device, memory_format=memory_layout(config.fast)).train()
        self.optimizer = make_optimizer((self.learner,), config.optim, config.fast)
        self.solve = make_solver(solver_name(config), config.bilevel.gamma, config.bilevel.fd_scale)
        self.planned = config.epochs * loader.steps_per_epoch
        self.total = self.planned if config.max_steps is None else min(self.planned, config.max_steps)
        self.step = 0
        self._usual_norm: float | None = None

    def resume(self) -> list[str]:
        """Continue from the run's checkpoint, where there is one; returns the options that changed since."""
        if not (self.run_dir / LAST).exists():
            return []
        self.step, changed = load_checkpoint(
            self.run_dir, self.config, self.learner, self.optimizer, self.device
        )
        return changed

    def save(self) -> None:
        """Write the checkpoint."""
        save_checkpoint(self.run_dir, self.step, self.config, self.learner, self.optimizer)

    def run(self) -> Outcome:
        """Train to the end, or until a signal asks to stop; the state is saved either way.

        Raises:
            Diverged: a loss or gradient is not finite; the state before that step has been saved.
            CheckpointError: a checkpoint could not be written.
        """
        start = time.perf_counter()
        log = MetricsLog(self.run_dir, self.step)
        watch = Stopwatch()
        try:
            with StopRequest() as stop, ProgressLine(self.total, self.step) as line:
                batches = self._batches(watch)
                while self.step < self.total and stop.signal is None:
                    values = self._train_step(next(batches), watch)
                    if self.step % self.config.log.every == 0 or self.step == self.total:
                        values |= watch.read()
                        log.write(self.step, values)
                        line.show(values)
                    line.advance()
                    if self.step % self.config.log.save_every == 0 and self.step < self.total:
                        self.save()
                self.save()
                save_encoder(self.run_dir, self.step, self.config, self.learner.encoder)
        finally:
            log.close()
            self.loader.close()
        seconds = time.perf_counter() - start
        return Outcome(self.step, self.total, seconds, stop.signal, self.learner.encoder)

    def _batches(self, watch: Stopwatch) -> Iterator[ClipBatch]:
        while True:
            epoch, position = divmod(self.step, self.loader.steps_per_epoch)
            batches = iter(self.loader.epoch(epoch, position))
            while True:
                asked = time.perf_counter()
                batch = next(batches, None)
                watch.waiting(time.perf_counter() - asked)
                if batch is None:
                    break
                yield batch

    def _train_step(self, batch: ClipBatch, watch: Stopwatch) -> dict[str, float]:
        config = self.config
        clips = finish(batch, config.augment, self.device, memory_layout(config.fast))
        videos = batch.videos.to(self.device).repeat_interleave(config.clip.views)
        problem = BatchProblem(self.learner, clips, videos, config, self.autocast)
        params = self.learner.trainable()
        result = self.solve(params, problem)
        lr = learning_rate(self.step, self.planned, config.optim.lr, config.optim.warmup)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        for name, p in params.items():
            p.grad = result.gradient[name]
        norm = get_total_norm([p.grad for p in params.values()])

        named = problem.log | {"loss": result.upper, "grad_norm": norm}
        if result.lower is not None:
            named["loss_pred"] = result.lower
        values = dict(zip(named, torch.stack([v.double() for v in named.values()]).tolist()))
        if not all(math.isfinite(v) for v in values.values()):
            problem.undo_buffers()
            self.save()
            raise diagnose(self.step + 1, values, clips, self.learner, config, lr, self._usual_norm)
        if config.optim.clip_norm is not None:
            clip_grads_with_norm_(params.values(), config.optim.clip_norm, norm)
        self.optimizer.step()
        self.learner.after_step([problem.keys], self.step / self.planned)
        earlier = values["grad_norm"] if self._usual_norm is None else self._usual_norm
        self._usual_norm = 0.9 * earlier + 0.1 * values["grad_norm"]
        epoch = self.step / self.loader.steps_per_epoch
        self.step += 1
        watch.step(len(clips))
        return values | {"epoch": epoch, "lr": lr}


def passes_per_step(config: TrainConfig) -> tuple[int, int]:
    """Forward and backward passes of the backbone in one step."""
    return PASSES[solver_name(config)]
