"""Run chains of jobs in processes of their own, several at a time."""

from __future__ import annotations

import os
import queue
import shlex
import subprocess
import threading
import time
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import Generic, TypeVar

from bodvcl.sweep.job import Job, is_finished

_SECONDS_TO_SAVE = 20
"""Seconds that a training gets to save its state when it is stopped."""
_GLANCE = 0.5
"""Seconds between two looks whether the processes should be stopped."""

J = TypeVar("J", bound=Job)


@dataclass(frozen=True)
class Outcome(Generic[J]):
    """How a chain of jobs ended.

    Attributes:
        job: the last job of the chain that was started, or the first if none was.
        finished: whether it ran to its end. Its result may be missing all the same; then the chain ends.
        error: command, exit code and last line of a job that failed; empty: none failed.
    """

    job: J
    finished: bool
    error: str = ""


def run_chains(
    chains: Sequence[Sequence[J]], slots: Sequence[Mapping[str, str]], until: float | None = None
) -> Generator[Outcome[J], None, None]:
    """Run chains of jobs, one chain per slot at a time; the jobs of a chain run one after the other.

    A job that has finished before is not run again. One that fails ends its chain. An interrupt stops the
    processes that run; they save their state. Close the iterator to start no other chain: it then waits for
    those that run.

    Args:
        chains: in the order in which they start; each has at least one job.
        slots: environment variables of the processes of each slot.
        until: time limit on the clock of ``time.monotonic``: then running jobs are stopped and no other one
            starts. None: no limit.

    Yields:
        The outcome of each chain, in the order in which they end.
    """
    free: queue.SimpleQueue[Mapping[str, str]] = queue.SimpleQueue()
    for slot in slots:
        free.put(slot)
    stop = _Stop(until)

    def run(chain: Sequence[J]) -> Outcome[J]:
        slot = free.get()
        try:
            return _run_chain(chain, slot, stop)
        finally:
            free.put(slot)

    with ThreadPoolExecutor(max(1, min(len(slots), len(chains)))) as pool:
        futures = [pool.submit(run, chain) for chain in chains]
        try:
            for future in as_completed(futures):
                yield future.result()
        except KeyboardInterrupt:
            stop.asked.set()
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


class _Stop:
    """When the processes should be stopped: at a time, or when asked."""

    def __init__(self, until: float | None) -> None:
        self._until = until
        self.asked = threading.Event()

    @property
    def now(self) -> bool:
        return self.asked.is_set() or (self._until is not None and time.monotonic() >= self._until)

    @property
    def pause(self) -> float:
        """Seconds to wait until the next look."""
        left = _GLANCE if self._until is None else self._until - time.monotonic()
        return min(_GLANCE, max(left, 0.0))


def _run_chain(chain: Sequence[J], slot: Mapping[str, str], stop: _Stop) -> Outcome[J]:
    for job in chain:
        if is_finished(job):
            continue
        if stop.now:
            return Outcome(job, finished=False)
        job.begin()
        with open(job.folder / "log.txt", "a", encoding="utf-8") as log:
            process = subprocess.Popen(
                job.command,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={"OMP_NUM_THREADS": "1", **os.environ, **slot},
            )
            code = _wait(process, stop)
        if code is None:
            return Outcome(job, finished=False)
        if code:
            last = (job.folder / "log.txt").read_text(encoding="utf-8").strip().splitlines()[-1:]
            error = f"{shlex.join(job.command)} ended with exit code {code}: {''.join(last)}"
            return Outcome(job, finished=False, error=error)
        if not is_finished(job):
            break
    return Outcome(job, finished=True)


def _wait(process: subprocess.Popen[bytes], stop: _Stop) -> int | None:
    """The exit code of a process; None: it was stopped."""
    while True:
        try:
            return process.wait(stop.pause)
        except subprocess.TimeoutExpired:
            if stop.now:
                _end(process)
                return None


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_SECONDS_TO_SAVE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
