"""What a running training tells: the progress line, the logs, and what there is to worry about."""

from __future__ import annotations

import contextlib
import resource
import time
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType

import torch
import yaml

from bodvcl.config.parse import dump_yaml
from bodvcl.config.schema import TrainConfig
from bodvcl.engine.flops import peak_of
from bodvcl.engine.health import HISTORY, health_warnings
from bodvcl.engine.metrics import LogError, MetricsLog, ProgressLine, Stopwatch
from bodvcl.engine.wandb_log import WandbLog


class Reporter:
    """Speaks for the run while entered. On a rank other than 0 it only measures, and says nothing.

    Args:
        config: of the run.
        run_dir: where the logs go.
        device: of the training.
        speaks: whether this is rank 0.
        world_size: ranks, each of which does as much as this one.
        step, total: steps done, and of the whole run.
        clip_flops: operations per clip and step, for the share of the device's peak.
        arithmetic: "fp32", "tf32", "bf16" or "fp16".
    """

    def __init__(
        self,
        config: TrainConfig,
        run_dir: Path,
        device: torch.device,
        *,
        speaks: bool,
        world_size: int,
        step: int,
        total: int,
        clip_flops: int,
        arithmetic: str,
    ) -> None:
        self._config, self._device, self._world_size, self._total = config, device, world_size, total
        self._watch = Stopwatch()
        self._clip_flops, self._peak = clip_flops, peak_of(device, arithmetic)
        self._history: deque[Mapping[str, float]] = deque(maxlen=HISTORY)
        self._warned: set[str] = set()
        self._line = ProgressLine(total, step) if speaks else None
        self._logs: list[MetricsLog | WandbLog] = []
        if speaks:
            self._logs.append(MetricsLog(run_dir, step))
            if config.log.wandb is not None:
                self._logs.append(WandbLog(config.log.wandb, run_dir, yaml.safe_load(dump_yaml(config))))

    def __enter__(self) -> Reporter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._line is not None:
            self._line.close()
        with contextlib.ExitStack() as stack:
            if error is not None:  # which is what the user is to hear of
                stack.enter_context(contextlib.suppress(LogError))
            for log in self._logs:
                stack.callback(log.close)

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Around what training stands still for: the next batch."""
        asked = time.perf_counter()
        yield
        self._watch.waiting(time.perf_counter() - asked)

    def note(self, text: str) -> None:
        """A line of its own above the progress line."""
        if self._line is not None:
            self._line.note(text)

    def step(self, step: int, values: Mapping[str, float], clips: int) -> None:
        """A step is done; now and then it is logged.

        Args:
            step: its number, from 1.
            values: what it found out.
            clips: that this rank has seen in it.
        """
        self._watch.step(clips * self._world_size)
        if self._line is None:
            return
        if step % self._config.log.every == 0 or step == self._total:
            line = dict(values) | self._watch.read() | self._machine()
            if self._peak is not None:
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
        """Most memory in use so far, in GB: of the device, or of this process on a CPU."""
        if self._device.type == "cuda":
            return {"memory_gb": torch.cuda.max_memory_allocated(self._device) / 1e9}
        return {"memory_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9}
