"""Signals as a request to stop after the current step, and what a cluster is told then."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
from types import FrameType, TracebackType


class StopRequest:
    """While entered, the first SIGINT, SIGTERM or SIGUSR1 is remembered; a second SIGINT interrupts at once.

    Attributes:
        signal: number of the signal received, or None.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._previous: dict[int, object] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
                self._previous[number] = signal.signal(number, self._remember)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            if handler is not None:  # one that was not set from Python, and cannot be set from it
                signal.signal(number, handler)  # type: ignore[arg-type]

    def _remember(self, number: int, frame: FrameType | None) -> None:
        if self.signal == signal.SIGINT and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = number


def requeue() -> str:
    """Ask Slurm to run this job again; returns what became of it, in words.

    Does nothing outside of a Slurm job.
    """
    job = os.environ.get("SLURM_JOB_ID")
    if job is None:
        return "not in a Slurm job: nothing is requeued"
    if shutil.which("scontrol") is None:
        return f"Slurm job {job} is not requeued: there is no scontrol here"
    done = subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True)
    if done.returncode:
        return f"Slurm job {job} is not requeued: {done.stderr.strip() or 'scontrol failed'}"
    return f"Slurm job {job} is requeued"
