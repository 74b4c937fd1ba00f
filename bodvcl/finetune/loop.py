"""The training loop of a task with labels. It knows nothing of the task itself (:mod:`bodvcl.finetune.task`).

It is exact as the pre-training is: interrupted and resumed, it is the same training, bit for bit on a CPU.
Several ranks train as one does on the whole batch.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from bodvcl.data.files.video_list import VideoList
from bodvcl.engine.buckets import GradientBuckets
from bodvcl.engine.checkpoint import LAST, Changing, checkpoint_state, load_checkpoint, seed_rank
from bodvcl.engine.checkpoint.file import read_state
from bodvcl.engine.checkpoint.training import Compare
from bodvcl.engine.epochs import batches_from
from bodvcl.engine.guard import Diverged, Overflows, diagnose
from bodvcl.engine.late import LateValues, any_not_finite
from bodvcl.engine.precision import pick_arithmetic, set_float32
from bodvcl.engine.ranks import PeerFailed, Ranks
from bodvcl.engine.reporter import Reporter
from bodvcl.engine.saving import Saver
from bodvcl.engine.signals import AgreedStop, StopRequest
from bodvcl.engine.sync_norm import synchronise_norms
from bodvcl.errors import DataError
from bodvcl.evaluate.clips import frozen
from bodvcl.finetune.best import Best, better, load_best, save_best
from bodvcl.finetune.loop_options import LoopOptions
from bodvcl.finetune.rate import rate_at
from bodvcl.finetune.task import Task
from bodvcl.models.layout import memory_layout
from bodvcl.optim.factory import make_optimizer
from bodvcl.optim.guarded import step_unless
from bodvcl.optim.schedule import batch_factor


@dataclass(frozen=True)
class TuningOutcome:
    """How a training ended.

    Attributes:
        step: steps that are done.
        total: steps of the whole run.
        seconds: time of the training, over all resumes.
        signal: number of the signal that asked to stop, perhaps in the last step; None: there was none.
        best: the best validation; None: there was none.
    """

    step: int
    total: int
    seconds: float
    signal: int | None
    best: Best | None


class _Unread(NamedTuple):
    """A step whose values the host has not read yet."""

    step: int
    values: LateValues
    known: dict[str, float]


class TuningLoop:
    """Trains the network of a task. It moves the network to the device and may replace its batch norms.

    Args:
        task: network, batches, loss and validation.
        options: how it is trained.
        run_dir: folder of the run.
        ranks: the processes that train together.
        settings: all options of the run as YAML, to be saved with the state.
        compare: tells whether saved settings belong to the same run.
        videos: list of the training videos, which is saved with the state. None: the settings determine them.
        what: what the run does, for the progress line.

    Raises:
        ConfigError: this machine lacks the arithmetic or the optimiser that was asked for.

    Attributes:
        step: steps that are done.
        total: steps of the run.
    """

    def __init__(
        self,
        task: Task,
        options: LoopOptions,
        run_dir: Path,
        ranks: Ranks,
        settings: str,
        compare: Compare,
        videos: VideoList | None = None,
        what: str = "fine-tuning",
    ) -> None:
        self.task, self.options, self.run_dir, self.ranks = task, options, run_dir, ranks
        self._settings, self._compare, self._videos, self._what = settings, compare, videos, what
        self._device = device = ranks.device
        self._arithmetic = pick_arithmetic(options.precision, options.fast, device)
        set_float32(self._arithmetic)
        torch.backends.cudnn.benchmark = options.fast
        task.model.to(device).to(memory_format=memory_layout(options.fast)).train()
        if ranks.size > 1 and options.sync_norm:
            synchronise_norms(task.model, plain=device.type == "cpu")
        scales = {p: group.scale for group in task.groups() for p in group.parameters}
        for p in task.model.parameters():
            p.requires_grad_(p in scales)
        trained = {name: p for name, p in task.model.named_parameters() if p in scales}
        self._params = list(trained.values())
        self._buckets = GradientBuckets(trained, ranks.size) if ranks.size > 1 else None
        self._factor = batch_factor(options.optim, options.batch_size)
        rate = options.optim.lr * self._factor
        self._optimizer = make_optimizer(self._params, options.optim, rate, options.fast, scales=scales)
        self._scaler = torch.amp.GradScaler(device.type, enabled=self._arithmetic.scaled)
        self.step, self.total = 0, options.epochs * task.steps_per_epoch
        self._best: Best | None = None
        self._seconds, self._began = 0.0, time.perf_counter()
        self._saver = Saver(
            run_dir, self._state, options.log, task.steps_per_epoch, self.total, writes=ranks.first
        )
        self._overflows = Overflows()
        self._usual_norm: float | None = None
        self._unread: _Unread | None = None
        self._stop = AgreedStop(StopRequest(), ranks.size)

    def autocast(self) -> torch.autocast:
        """The arithmetic of the training, for passes of the same network outside of it."""
        return torch.autocast(
            self._device.type, self._arithmetic.autocast, enabled=self._arithmetic.autocast is not None
        )

    def resume(self) -> list[str]:
        """Continue from the run's checkpoint, if there is one. Returns one line per option that has changed.

        Raises:
            CheckpointError: the checkpoint cannot be read, or does not belong to this run.
        """
        if not (self.run_dir / LAST).exists():
            return []
        changing = Changing(self.task.model, self._optimizer, self._scaler)
        self.step, changed = load_checkpoint(
            self.run_dir,
            changing,
            self._settings,
            self.options.seed,
            self.ranks,
            self._videos,
            accept_other_videos=self.options.resume_with_other_videos,
            compare=self._compare,
        )
        progress = read_state(self.run_dir / LAST, torch.device("cpu"))["progress"]
        self._seconds = float(progress["seconds"])
        self._best = None if progress["best"] is None else Best(*progress["best"])
        return changed

    def run(self) -> TuningOutcome:
        """Train to the end, or until a signal asks to stop. Both ways the state is saved.

        After a complete training with ``keep best`` the model has the weights of the best epoch.

        Raises:
            Diverged: the loss, the gradient or the state is not finite.
            CheckpointError: a checkpoint cannot be written.
            LogError: the log cannot be written.
            DataError: the clips are at an end: too many files cannot be read.
        """
        self._began = time.perf_counter()
        try:
            with StopRequest() as request, self._reporter() as report, self._clips_may_end(report):
                stop = self._stop = AgreedStop(request, self.ranks.size)
                wanted = itertools.islice(self._batches(report), max(0, self.total - self.step))
                for batch in wanted:
                    if stop.signal:
                        break
                    self._train_step(batch, report)
                    if self._is_validated():
                        self._validate(report)
                    if self._saver.is_due(self.step):
                        self._settle(report)
                        self._save()
                self._settle(report)
                self._save()
        finally:
            self.task.close()
        if self.step == self.total and self.options.keep == "best" and self._best is not None:
            load_best(self.run_dir, self.task.model, self._device)
        return TuningOutcome(self.step, self.total, self._time(), stop.signal or None, self._best)

    # -------------------------------------------------------------- a step

    def _train_step(self, batch: Any, report: Reporter) -> None:
        """Give the device one step to work on, and read the values of the step before while it works."""
        options, task = self.options, self.task
        seed_rank(options.seed, self.ranks.rank, self.step)
        self._optimizer.zero_grad(set_to_none=True)
        with contextlib.nullcontext() if self._buckets is None else self._buckets.sent(1):
            with self.autocast():
                loss = task.loss(batch)
            self._scaler.scale(loss).backward()
        lr = rate_at(self.step, self.total, task.steps_per_epoch, options.optim, self._factor)
        for group in self._optimizer.param_groups:
            group["lr"] = lr * group["scale"]
        self._scaler.unscale_(self._optimizer)
        norm = get_total_norm([p.grad for p in self._params if p.grad is not None])
        told = {name: loss.new_tensor(x, dtype=torch.float32) for name, x in self._stop.told().items()}
        values = self.ranks.mean({"loss": loss.detach().float()} | told) | {"grad_norm": norm}
        broken = any_not_finite([values["loss"], norm])
        self._settle(report)
        if options.optim.clip_norm is not None:
            clip_grads_with_norm_(self._params, options.optim.clip_norm, norm)
        step_unless(self._optimizer, broken)
        self._scaler.update()
        if self._arithmetic.scaled:
            values["loss_scale"] = self._scaler.scale(torch.ones_like(norm))
        known = {"epoch": self.step / task.steps_per_epoch, "lr": lr}
        self.step += 1
        self._unread = _Unread(self.step, LateValues(values, (), 1), known)

    def _settle(self, report: Reporter, validated: Mapping[str, float] | None = None) -> None:
        """Read the values of the last step, judge and report them; nothing if they have been read.

        Raises:
            Diverged: they are not finite.
            LogError: the log cannot be written.
        """
        last, self._unread = self._unread, None
        if last is None:
            return
        values = self._stop.hear(last.values.read()) | last.known
        broken = [name for name in ("loss", "grad_norm") if not math.isfinite(values[name])]
        if broken == ["grad_norm"] and self._arithmetic.scaled and self._overflows.tolerated():
            report.note(self._overflows.sentence(last.step, values["loss_scale"]))
        elif broken:
            raise self._diagnosis(last.step, values) if self.ranks.first else PeerFailed
        else:
            self._overflows.in_a_row = 0
            earlier = values["grad_norm"] if self._usual_norm is None else self._usual_norm
            self._usual_norm = 0.9 * earlier + 0.1 * values["grad_norm"]
        report.step(last.step, values, self.options.batch_size // self.ranks.size, validated)

    def _diagnosis(self, step: int, values: Mapping[str, float]) -> Diverged:
        return diagnose(
            step,
            {name: values[name] for name in ("loss", "grad_norm")},
            clips_are_finite=True,  # they are made of bytes
            weights_are_finite=True,  # a step that is not finite changes none
            lr=values["lr"],
            gamma=None,
            tau=1.0,
            usual_norm=self._usual_norm,
            overflows=self._overflows,
            kept=self._saver.kept(),
        )

    # -------------------------------------------------------------- epochs

    def _is_validated(self) -> bool:
        """Whether the task is validated after the present step."""
        every = self.options.validate_every
        epoch, rest = divmod(self.step, self.task.steps_per_epoch)
        return every > 0 and not rest and (epoch in (1, self.options.epochs) or epoch % every == 0)

    def _validate(self, report: Reporter) -> None:
        with report.apart():
            self.ranks.average_statistics(self.task.model)
            with frozen(self.task.model), self.autocast():
                metrics = self.task.validate()
        self._settle(report, {f"val_{name}": value for name, value in metrics.items()})
        found = better(self._best, self.step, metrics) if metrics else None
        if found is not None:
            self._best = found
            if self.options.keep == "best" and self.ranks.first:
                save_best(self.run_dir, found, self.task.model)

    def _save(self) -> None:
        self.ranks.average_statistics(self.task.model)
        self._saver.save_and_keep(self.step, self._optimizer.param_groups[0]["lr"])

    def _state(self) -> dict[str, Any]:
        changing = Changing(self.task.model, self._optimizer, self._scaler)
        state = checkpoint_state(changing, self.step, self._settings, self.ranks.size, self._videos)
        best = None if self._best is None else tuple(self._best)
        return state | {"progress": {"seconds": self._time(), "best": best}}

    def _time(self) -> float:
        return self._seconds + time.perf_counter() - self._began

    # -------------------------------------------------------------- around it

    def _batches(self, report: Reporter) -> Iterator[Any]:
        return batches_from(
            self.step,
            self.task.steps_per_epoch,
            self.task.batches,
            lambda: report.waiting(lambda: self._unread is None or self._unread.values.arrived()),
        )

    def _reporter(self) -> Reporter:
        return Reporter(
            self.options.log,
            self.run_dir,
            self._device,
            yaml.safe_load(self._settings),
            speaks=self.ranks.first,
            world_size=self.ranks.size,
            step=self.step,
            total=self.total,
            clip_flops=None,
            arithmetic=self._arithmetic.name,
            what=self._what,
        )

    @contextlib.contextmanager
    def _clips_may_end(self, report: Reporter) -> Iterator[None]:
        """While entered, the state is saved where the clips are at an end; the error goes on."""
        try:
            yield
        except DataError:
            if self.ranks.size == 1:  # the others may never finish the last step
                with contextlib.suppress(Exception):  # the user should see the first error
                    self._settle(report)
                    self._saver.save()
            raise
