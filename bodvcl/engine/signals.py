"""Signals that stop the training after the current step, and the requeueing of a Slurm job."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
from types import FrameType, TracebackType


class StopRequest:
    """While entered, SIGINT, SIGTERM and SIGUSR1 are only recorded; a second SIGINT interrupts at once.

    Attributes:
        signal: number of the signal that was received last; None: no signal.
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
            if handler is not None:  # None: the handler was not set from Python and cannot be restored
                signal.signal(number, handler)  # type: ignore[arg-type]  # it came from signal.signal

    def _remember(self, number: int, frame: FrameType | None) -> None:
        if self.signal == signal.SIGINT and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = number


def requeue() -> str:
    """Ask Slurm to run this job again. Outside of a Slurm job it does nothing.

    Returns:
        A sentence for the user about the result.
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
