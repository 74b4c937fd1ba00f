"""Signals that stop the training after the current step, and the requeueing of a Slurm job."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Mapping
from types import FrameType, TracebackType

_STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


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
            for number in _STOPS:
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


class AgreedStop:
    """Lets all ranks stop after the same step, whichever got the signal.

    Each rank sends what it got with the values of a step, and all hear of it when they read these values.

    Args:
        request: the signals of this rank.
        ranks: number of ranks. A single one need not tell anybody.
    """

    def __init__(self, request: StopRequest, ranks: int) -> None:
        self._request, self._alone = request, ranks == 1
        self._heard = 0

    @property
    def signal(self) -> int:
        """Number of the signal that ends the training now; 0: none."""
        return (self._request.signal or 0) if self._alone else self._heard

    def told(self) -> dict[str, float]:
        """What this rank sends with a step, by name: 1 for the signal that it got last."""
        return {} if self._alone else {_name(n): float(self._request.signal == n) for n in _STOPS}

    def hear(self, values: Mapping[str, float]) -> dict[str, float]:
        """Take the means of :meth:`told` over the ranks out of the values of a step; returns the others."""
        self._heard = max((n for n in _STOPS if values.get(_name(n), 0) > 0), default=0)
        names = {_name(n) for n in _STOPS}
        return {name: value for name, value in values.items() if name not in names}


def _name(number: signal.Signals) -> str:
    return f"got {number.name}"


def requeue() -> str:
    """Ask Slurm to run this job again. Outside of a Slurm job it does nothing.

    Returns:
        A sentence for the user about the result.
    """
    job = _slurm_job()
    if job is None:
        return "not in a Slurm job: nothing is requeued"
    if shutil.which("scontrol") is None:
        return f"Slurm job {job} is not requeued: there is no scontrol here"
    done = subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True)
    if done.returncode:
        return f"Slurm job {job} is not requeued: {done.stderr.strip() or 'scontrol failed'}"
    return f"Slurm job {job} is requeued"


def _slurm_job() -> str | None:
    """The job that this process is of. The number of one task of an array is that of the whole array too."""
    array, task = (os.environ.get(f"SLURM_ARRAY_{name}_ID") for name in ("JOB", "TASK"))
    return f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID")
