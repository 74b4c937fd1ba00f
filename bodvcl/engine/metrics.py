"""The log of a run: metrics.jsonl, TensorBoard events, and the progress line."""

from __future__ import annotations

import contextlib
import io
import json
import math
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from bodvcl.errors import UserError
from bodvcl.runs.folder import write_atomically
from bodvcl.text.progress import progress_bar

METRICS = "metrics.jsonl"

_SHORT = {
    "loss_static": "static",
    "loss_dynamic": "dynamic",
    "loss_video": "video",
    "loss_pred": "pred",
    "static_modes": "modes",
}


_STREAM_LOSSES = ("loss_static", "loss_dynamic", "loss_video")


class LogError(UserError):
    """The log of a run cannot be written, for example because the disk is full."""


class MetricsLog:
    """Appends one line per logged step to ``metrics.jsonl`` and to TensorBoard events.

    Args:
        run_dir: folder of the run.
        first_step: steps that are done; lines of later steps, from an earlier attempt, are dropped.

    Raises:
        LogError: the files cannot be written. Every method may raise it. It leaves no incomplete line in
            ``metrics.jsonl``.
    """

    def __init__(self, run_dir: Path, first_step: int) -> None:
        self._run_dir = run_dir
        path = run_dir / METRICS
        with self._written():
            if path.exists():
                lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
                kept = [line for line in lines if _step_of(line) <= first_step]
                write_atomically(path, "".join(f"{line}\n" for line in kept).encode())
            self._file = open(path, "ab", buffering=0)  # noqa: SIM115
            self._events = SummaryWriter(str(run_dir / "tensorboard"), purge_step=first_step)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Log the values of a step by name; NaN and infinities are written as null."""
        finite = {k: (v if math.isfinite(v) else None) for k, v in values.items()}
        line = f"{json.dumps({'step': step} | finite)}\n".encode()
        with self._written():
            end = self._file.tell()
            try:
                _write_whole(self._file, line)
            except OSError:
                self._file.truncate(end)
                raise
            for name, value in values.items():
                if name != "epoch":
                    self._events.add_scalar(name, value, step)

    def close(self) -> None:
        """Flush and close both files."""
        with self._written():
            self._file.close()
            self._events.close()

    @contextlib.contextmanager
    def _written(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise LogError(
                f"cannot write the log in {self._run_dir}: {error.strerror or error}; "
                "make room or correct the cause, and continue with --resume"
            ) from error


def _write_whole(file: io.RawIOBase, data: bytes) -> None:
    """Write all bytes: a full disk may accept a part of them and fail at the rest."""
    while data:
        data = data[file.write(data) :]


class Stopwatch:
    """Clips per second and the share of time spent waiting for data, over the steps since the last
    reading."""

    def __init__(self) -> None:
        self._start = time.perf_counter()
        self._clips = 0
        self._waited = 0.0

    def waiting(self, seconds: float) -> None:
        """Add time spent waiting for data."""
        self._waited += seconds

    def leave_out(self, seconds: float) -> None:
        """Do not count this time."""
        self._start += seconds

    def step(self, clips: int) -> None:
        """Add the clips of a finished step."""
        self._clips += clips

    def read(self) -> dict[str, float]:
        """``clips_per_second``, and ``data_wait`` in [0, 1], since the last reading."""
        now = time.perf_counter()
        elapsed = max(now - self._start, 1e-9)
        rates = {"clips_per_second": self._clips / elapsed, "data_wait": self._waited / elapsed}
        self._start, self._clips, self._waited = now, 0, 0.0
        return rates


class ProgressLine:
    """One line with losses, static modes per clip, the lowest effective rank of a stream, the share of empty
    streams (if there are any), clips per second, waiting time, memory and the remaining time.

    Args:
        total: number of steps.
        done: steps that are done.
        what: first words of the line.
    """

    def __init__(self, total: int, done: int, what: str) -> None:
        self._bar = progress_bar(
            total=total,
            initial=done,
            desc=what,
            unit="step",
            bar_format="{desc} {percentage:3.0f}% {n_fmt}/{total_fmt} [{elapsed}<{remaining}]{postfix}",
        )

    def close(self) -> None:
        """Finish the line; it stays on the screen."""
        self._bar.close()

    def note(self, text: str) -> None:
        """Print a line above this one."""
        self._bar.write(text, file=sys.stderr)

    def show(self, values: Mapping[str, float]) -> None:
        """Replace the values on the line."""
        parts = [f"{short} {values[name]:.3g}" for name, short in _SHORT.items() if name in values]
        if not any(name in values for name in _STREAM_LOSSES):
            parts.insert(0, f"loss {values['loss']:.3g}")
        parts += _streams(values)
        parts.append(f"{values['clips_per_second']:.0f} clips/s")
        parts.append(f"wait {100 * values['data_wait']:.0f}%")
        if "mfu" in values:
            parts.append(f"MFU {100 * values['mfu']:.0f}%")
        parts.append(f"{values['memory_gb']:.1f} GB")
        self._bar.set_postfix_str(" | ".join(parts), refresh=False)

    def advance(self) -> None:
        """Count one more step."""
        self._bar.update()


def _streams(values: Mapping[str, float]) -> list[str]:
    """Health of the streams in a few words."""
    parts = []
    ranks = [value for name, value in values.items() if name.startswith("effective_rank")]
    if ranks:
        parts.append(f"rank {min(ranks):.3g}")
    empty = max((value for name, value in values.items() if name.startswith("empty_")), default=0.0)
    if empty > 0:
        parts.append(f"empty {100 * empty:.0f}%")
    return parts


def _step_of(line: str) -> float:
    try:
        step: float = json.loads(line)["step"]
        return step
    except (ValueError, KeyError, TypeError):
        return math.inf
