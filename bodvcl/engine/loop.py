"""The training loop: from a configuration to a trained encoder and a run folder."""

from __future__ import annotations

import contextlib
import itertools
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml
from torch.nn.utils import clip_grads_with_norm_

from bodvcl.config.parse import dump_yaml
from bodvcl.config.passes import bilevel_of, passes
from bodvcl.config.schema import TrainConfig
from bodvcl.data.clips.batch import ClipBatch
from bodvcl.data.files.video_list import VideoList
from bodvcl.data.sources.source import ClipSource
from bodvcl.engine.checkpoint import (
    LAST,
    checkpoint_state,
    load_checkpoint,
    save_encoder,
    seed_rank,
)
from bodvcl.engine.checkpoint.file import read_state
from bodvcl.engine.device import pick_device
from bodvcl.engine.epochs import batches_from
from bodvcl.engine.flops import forward_flops, step_flops
from bodvcl.engine.guard import Diverged, Overflows, diagnose
from bodvcl.engine.late import LateValues, any_not_finite
from bodvcl.engine.machinery import build_machinery
from bodvcl.engine.metrics import LogError
from bodvcl.engine.parts import PartProblems
from bodvcl.engine.problem import BatchProblem
from bodvcl.engine.ranks import PeerFailed, Ranks, World
from bodvcl.engine.reporter import Reporter
from bodvcl.engine.saving import Saver
from bodvcl.engine.sharding import all_finite, whole_encoder
from bodvcl.engine.signals import AgreedStop, StopRequest
from bodvcl.engine.step import step_gradient
from bodvcl.engine.upload import uploaded
from bodvcl.errors import CheckpointError, DataError
from bodvcl.models.encoder import VideoEncoder
from bodvcl.optim.guarded import step_unless
from bodvcl.optim.schedule import learning_rate, rising_steps

_MUST_BE_FINITE = ("loss", "grad_norm")


class _Unread(NamedTuple):
    """A step that the device was given, and whose values the host has not read yet.

    Attributes:
        step: number of the step, from 1.
        values: its values on the device.
        known: its values that the host knows.
        batch: its clips.
        problems: its problems, which can undo what their passes changed.
    """

    step: int
    values: LateValues
    known: dict[str, float]
    batch: ClipBatch
    problems: PartProblems

    @property
    def clips(self) -> int:
        """Number of clips of this rank."""
        return len(self.batch.clips)

    def read(self) -> dict[str, float]:
        """All values by name; waits until the device has finished the step."""
        return self.values.read() | self.known


@dataclass
class TrainingOutcome:
    """How a training ended.

    Attributes:
        step: steps that are done.
        total: steps of the whole run.
        seconds: time of the training, over all resumes. What a kill took back counts once, like its steps.
        signal: number of the signal that stopped the training early; None: it is complete.
        encoder: the trained encoder. Where its weights are cut, only rank 0 has it.
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
        self._machinery = build_machinery(config, self.device, self.ranks)
        self.learner = self._machinery.learner
        _, self.optimizer, self.scaler = self._machinery.changing
        self.planned = config.epochs * source.steps_per_epoch
        self.total = self.planned if config.max_steps is None else min(self.planned, config.max_steps)
        self.step = 0
        self._seconds, self._began = 0.0, time.perf_counter()
        if not self.ranks.first:
            seed_rank(config.seed, self.ranks.rank, 0)
        self._saver = Saver(
            run_dir,
            self._state,
            config.log,
            source.steps_per_epoch,
            self.total,
            writes=self.ranks.first,
            shards=self._machinery.shards,
        )
        self._overflows = Overflows()
        self._usual_norm: float | None = None
        self._unread: _Unread | None = None
        self._stop = AgreedStop(StopRequest(), self.ranks.size)

    def resume(self) -> list[str]:
        """Continue from the run's checkpoint, if there is one. Returns one line per option that has changed.

        Raises:
            CheckpointError: the checkpoint cannot be read, or does not belong to this run.
        """
        if not (self.run_dir / LAST).exists():
            return []
        self.step, changed = load_checkpoint(
            self.run_dir,
            self._machinery.changing,
            dump_yaml(self.config),
            self.config.seed,
            self.ranks,
            self.videos,
            accept_other_videos=self.config.resume_with_other_videos,
            shards=self._machinery.shards,
        )
        head = read_state(self.run_dir / LAST, torch.device("meta"))
        self._seconds = float(head.get("seconds", 0.0))  # older versions kept no time
        return changed

    def _state(self) -> dict[str, Any]:
        state = checkpoint_state(
            self._machinery.changing, self.step, dump_yaml(self.config), self.ranks.size, self.videos
        )
        return state | {"seconds": self._time()}

    def _time(self) -> float:
        return self._seconds + time.perf_counter() - self._began

    def run(self) -> TrainingOutcome:
        """Train to the end, or until a signal asks to stop. Both ways the state is saved.

        Raises:
            Diverged: a loss, a gradient or the state is not finite. The last finite state is saved, if there
                is one.
            CheckpointError: a checkpoint cannot be written.
            LogError: the log cannot be written. The state is saved, if the disk has room for it.
        """
        self._began = time.perf_counter()
        try:
            with (
                StopRequest() as request,
                self._reporter() as report,
                self._last_step_kept(report),
            ):
                stop = self._stop = AgreedStop(request, self.ranks.size)
                wanted = itertools.islice(self._batches(report), max(0, self.total - self.step))
                for batch in uploaded(wanted, self.device):
                    if stop.signal:
                        break
                    self._saver.before_step(self.step + 1)
                    self._train_step(batch, report)
                    if self._saver.is_due(self.step):
                        self._settle(report)
                        self._save_and_keep()
                self._settle(report)
                self._save_and_keep()
                encoder = whole_encoder(self.learner.encoder, self.config.model, self.ranks)
                if self.ranks.first:
                    settings = dump_yaml(self.config)
                    save_encoder(self.run_dir, self.step, settings, self.config.model, encoder)
        finally:
            self.source.close()
        signal = stop.signal if self.step < self.total else 0
        return TrainingOutcome(self.step, self.total, self._time(), signal or None, encoder)

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
            arithmetic=self._machinery.arithmetic.name,
        )

    @contextlib.contextmanager
    def _last_step_kept(self, report: Reporter) -> Iterator[None]:
        """While entered, an error that ends the training does not lose the values of the last step; where the
        clips are at an end (a share that is gone, too many bad files), the state is saved."""
        try:
            yield
        except Exception as error:
            if self.ranks.size == 1:  # the others may never finish the last step
                with contextlib.suppress(Exception):  # the user should see the first error
                    self._settle(report)
                    if isinstance(error, DataError):
                        self._saver.save()
            self._unread = None
            raise

    def _batches(self, report: Reporter) -> Iterator[ClipBatch]:
        """The batches from the present step on, without end."""
        return batches_from(
            self.step,
            self.source.steps_per_epoch,
            lambda epoch, start: iter(self.source.epoch(epoch, start)),
            lambda: report.waiting(lambda: self._unread is None or self._unread.values.arrived()),
        )

    def _is_logged(self) -> bool:
        """Whether the present step will be logged."""
        return (self.step + 1) % self.config.log.every == 0 or self.step + 1 == self.total

    def _save_and_keep(self) -> None:
        self.ranks.average_statistics(self.learner)
        self._saver.save_and_keep(self.step, self.optimizer.param_groups[0]["lr"])

    def _train_step(self, batch: ClipBatch, report: Reporter) -> None:
        """Give the device one step to work on. Then, while it works, read the values of the step before.

        A step whose loss or gradient is not finite is left out by the device itself. That the host learns
        before the next update, and so it can still save the state before that step.
        """
        config, machinery = self.config, self._machinery
        trained = machinery.trained
        self.learner.step = self.step
        problems = PartProblems(batch, config.accumulate, config.clip.views, self._problem)
        scale = self.scaler.scale if self._machinery.arithmetic.scaled else None
        trained.forget()
        found = step_gradient(
            machinery.solve,
            {**trained.solved},
            problems,
            self.ranks,
            scale,
            self._stop.told(),
            collect=machinery.collect,
        )
        lr = self._set_learning_rate()
        trained.take(found.gradient)
        self.scaler.unscale_(self.optimizer)
        norm = trained.norm()
        values = found.values | {"grad_norm": norm}
        broken = any_not_finite([v for name, v in values.items() if name.startswith(_MUST_BE_FINITE)])
        self._settle(report, problems)
        if config.optim.clip_norm is not None:
            clip_grads_with_norm_(trained.own.values(), config.optim.clip_norm, norm)
        step_unless(self.optimizer, broken)
        self.scaler.update()
        self.learner.after_step(found.keys, (self.step + 1) / self.planned, ~broken)
        if self._machinery.arithmetic.scaled:
            values["loss_scale"] = self.scaler.scale(torch.ones_like(norm))
        streams = found.streams if self.ranks.first else []
        self._unread = _Unread(
            self.step + 1,
            LateValues(values, streams, config.clip.views),
            {"epoch": self.step / self.source.steps_per_epoch, "lr": lr},
            batch,
            problems,
        )
        self.step += 1

    def _settle(self, report: Reporter, present: PartProblems | None = None) -> None:
        """Read the values of the last step, judge and report them; nothing if they have been read.

        Args:
            report: where they go.
            present: problems of the step that has begun since, to be undone if the training ends here.

        Raises:
            Diverged: they are not finite. The state before that step is saved.
            LogError: the log cannot be written. The state after that step is saved, if there is room.
        """
        last, self._unread = self._unread, None
        if last is None:
            return
        values = self._stop.hear(last.read())
        broken = [
            name for name in values if name.startswith(_MUST_BE_FINITE) and not math.isfinite(values[name])
        ]
        if broken == ["grad_norm"] and self._machinery.arithmetic.scaled and self._overflows.tolerated():
            report.note(self._overflows.sentence(last.step, values["loss_scale"]))
        elif broken:
            last.problems.undo()
            self.step = last.step - 1
            diagnosis = self._diagnosis(last.batch, values, self._saver.rescue())
            raise diagnosis if self.ranks.first else PeerFailed
        else:
            self._overflows.in_a_row = 0
            earlier = values["grad_norm"] if self._usual_norm is None else self._usual_norm
            self._usual_norm = 0.9 * earlier + 0.1 * values["grad_norm"]
        if self._machinery.arithmetic.scaled:
            values["skipped_steps"] = self._overflows.count
        try:
            report.step(last.step, values, last.clips)
        except LogError:
            if self.ranks.size == 1:  # with several ranks all would have to take part
                if present is not None:
                    present.undo()
                with contextlib.suppress(CheckpointError):  # the same disk is full
                    self._saver.save()
            raise

    def _problem(self, part: ClipBatch) -> BatchProblem:
        return self._machinery.problem(part, health=self._is_logged())

    def _set_learning_rate(self) -> float:
        optim = self.config.optim
        lr = learning_rate(
            self.step,
            self.planned,
            optim.lr * self._machinery.factor,
            rising_steps(optim, self.planned, self.source.steps_per_epoch),
            optim.warmup_lr * self._machinery.factor,
            optim.cosine_from_start,
        )
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        return lr

    def _diagnosis(self, batch: ClipBatch, values: dict[str, float], kept: str) -> Diverged:
        config, bilevel = self.config, bilevel_of(self.config)
        clips_are_finite, weights_are_finite = self.ranks.least(
            int(torch.isfinite(self._machinery.clips(batch)).all()), int(all_finite(self.learner))
        )
        return diagnose(
            self.step + 1,
            {name: value for name, value in values.items() if name.startswith(_MUST_BE_FINITE)},
            bool(clips_are_finite),
            bool(weights_are_finite),
            values["lr"],
            None if bilevel is None or bilevel.solver == "single" else bilevel.gamma,
            config.objective.tau,
            self._usual_norm,
            self._overflows,
            kept,
        )
