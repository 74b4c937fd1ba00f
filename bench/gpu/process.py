"""A command with a limit of time, in a process group of its own that ends as a whole."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

GRACE = 8.0
"""Seconds that an interrupted command has to write what it knows."""


class Outcome(NamedTuple):
    """How a command ended.

    Attributes:
        word: "ok", "failed", "crashed" (a signal that nobody here sent) or "timeout".
        reason: in words; "" for "ok".
        seconds: how long it took.
    """

    word: str
    reason: str
    seconds: float


def run_limited(
    command: Sequence[str], seconds: float, log: Path, env: Mapping[str, str], grace: float = GRACE
) -> Outcome:
    """Run ``command`` for at most ``seconds``, then interrupt it, and ``grace`` seconds later kill it.

    Whatever ends it, nothing of its process group stays behind.

    Args:
        command: program and arguments.
        seconds: limit.
        log: file for its output, appended to.
        env: its whole environment.
        grace: seconds between the interrupt and the kill.
    """
    start = time.monotonic()
    with log.open("ab") as out:
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=dict(env),
                start_new_session=True,
            )
        except OSError as error:
            return Outcome("failed", f"{command[0]} cannot be started: {error.strerror}", 0.0)
        try:
            status = process.wait(seconds)
            late = ""
        except subprocess.TimeoutExpired:
            late = f"stopped after its {seconds:.0f} seconds"
            status = _interrupt(process, grace)
        finally:
            _kill(process)
    taken = time.monotonic() - start
    if late:
        return Outcome("timeout", late if status is not None else f"{late}, and had to be killed", taken)
    if status < 0:
        return Outcome("crashed", f"ended by {signal.Signals(-status).name}", taken)
    return Outcome("failed", f"exit code {status}", taken) if status else Outcome("ok", "", taken)


def _interrupt(process: subprocess.Popen[bytes], grace: float) -> int | None:
    """Exit status after an interrupt; None where it did not end within ``grace`` seconds."""
    _signal(process, signal.SIGINT)
    try:
        return process.wait(grace)
    except subprocess.TimeoutExpired:
        return None


def _kill(process: subprocess.Popen[bytes]) -> None:
    _signal(process, signal.SIGKILL)
    process.wait()


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)  # the group outlives its leader while a member is left
