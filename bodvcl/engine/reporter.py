"""What a running training reports: progress line, logs and warnings."""

from __future__ import annotations

import contextlib
import resource
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import torch

from bodvcl.config.schema import RunLog
from bodvcl.engine.flops import peak_of
from bodvcl.engine.health import HISTORY, health_warnings
from bodvcl.engine.metrics import LogError, MetricsLog, ProgressLine, Stopwatch
from bodvcl.engine.wandb_log import WandbLog


class Reporter:
    """Reports the progress of a run while entered. On ranks other than 0 it reports nothing.

    Args:
        log: what to log, and how often.
        run_dir: folder of the run; the logs go there.
        device: device of the training.
        settings: the configuration of the run, shown by Weights & Biases beside the curves.
        speaks: whether this is rank 0.
        world_size: number of ranks; each works on as many clips as this one.
        step: steps that are done.
        total: steps of the whole run.
        clip_flops: operations per clip and step, for the share of the device's peak. None: not known.
        arithmetic: "fp32", "tf32", "bf16" or "fp16".
        what: what the run does, at the start of the progress line.

    Raises:
        LogError: the logs cannot be written.
        ConfigError: Weights & Biases refuses.
    """

    def __init__(
        self,
        log: RunLog,
        run_dir: Path,
        device: torch.device,
        settings: Mapping[str, Any],
        *,
        speaks: bool,
        world_size: int,
        step: int,
        total: int,
        clip_flops: int | None,
        arithmetic: str,
        what: str = "pre-training",
    ) -> None:
        self._every, self._device, self._world_size, self._total = log.every, device, world_size, total
        self._watch = Stopwatch()
        self._clip_flops, self._peak = clip_flops, peak_of(device, arithmetic)
        self._history: deque[Mapping[str, float]] = deque(maxlen=HISTORY)
        self._warned: set[str] = set()
        self._line = ProgressLine(total, step, what) if speaks else None
        self._logs: list[MetricsLog | WandbLog] = []
        if speaks:
            self._logs.append(MetricsLog(run_dir, step))
            if log.wandb is not None:
                self._logs.append(WandbLog(log.wandb, run_dir, settings))

    def __enter__(self) -> Reporter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._line is not None:
            self._line.close()
        with contextlib.ExitStack() as stack:
            if error is not None:  # the user should see this error, not one of the logs
                stack.enter_context(contextlib.suppress(LogError))
            for log in self._logs:
                stack.callback(log.close)

    @contextlib.contextmanager
    def waiting(self, idle: Callable[[], bool]) -> Iterator[None]:
        """While entered, time counts as waiting for data, unless the device still works when it ends.

        Args:
            idle: tells whether the device has nothing to do.
        """
        asked = time.perf_counter()
        yield
        if idle():
            self._watch.waiting(time.perf_counter() - asked)

    @contextlib.contextmanager
    def apart(self) -> Iterator[None]:
        """While entered, time does not count for the speed of the training."""
        began = time.perf_counter()
        yield
        self._watch.leave_out(time.perf_counter() - began)

    def note(self, text: str) -> None:
        """Print a line above the progress line."""
        if self._line is not None:
            self._line.note(text)

    def step(
        self, step: int, values: Mapping[str, float], clips: int, validated: Mapping[str, float] | None = None
    ) -> None:
        """Report a finished step; every ``log.every`` steps it is logged.

        Args:
            step: number of the step, from 1.
            values: losses and diagnostics by name.
            clips: number of clips of this rank.
            validated: metrics of a validation after it, by name; a step that has any is always logged.

        Raises:
            LogError: the logs cannot be written.
        """
        self._watch.step(clips * self._world_size)
        if self._line is None:
            return
        if step % self._every == 0 or step == self._total or validated:
            line = {**values, **(validated or {})} | self._watch.read() | self._machine()
            if self._peak is not None and self._clip_flops is not None:
                rate = line["clips_per_second"] * self._clip_flops / self._world_size
                line["mfu"] = rate / self._peak
            for log in self._logs:
                log.write(step, line)
            self._line.show(line)
            self._history.append(line | {"step": step})
            self._warn()
        self._line.advance()

    def _warn(self) -> None:
        for finding in health_warnings(list(self._history)):
            if finding.name not in self._warned:
                self._warned.add(finding.name)
                self.note(f"warning: {finding.text}")

    def _machine(self) -> dict[str, float]:
        """Peak memory so far in GB: of the GPU, or of this process on a CPU."""
        if self._device.type == "cuda":
            return {"memory_gb": torch.cuda.max_memory_allocated(self._device) / 1e9}
        return {"memory_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9}
