"""Apply a function to many items in processes; an item that crashes or hangs does not affect the others."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from bodvcl.data.workers.pool import Note, WorkerDied, WorkerPool

Result = TypeVar("Result")


@dataclass(frozen=True)
class Lost:
    """An item without a result, because its worker ended.

    Attributes:
        reason: how the worker ended, in one line.
        lasting: it would happen again: neither a time limit nor a lack of memory was the cause.
        hung: it took too long.
    """

    reason: str
    lasting: bool
    hung: bool = False


@dataclass(frozen=True)
class _Noted(Generic[Result]):
    function: Callable[[int], Result]

    def __call__(self, number: int, note: Note) -> Result:
        note(number)
        return self.function(number)


def each(
    function: Callable[[int], Result],
    count: int,
    *,
    workers: int,
    timeout: float | None = None,
    ahead: int = 8,
) -> Iterator[Result | Lost]:
    """function(0), ..., function(count - 1), in order, computed in processes.

    Args:
        function: must not raise; it and its results must survive pickling.
        count: number of items.
        workers: number of processes. 0: compute in this process.
        timeout: time limit for one item in seconds. None: no limit.
        ahead: most items per worker that are computed or wait; large results need memory.
    """
    if workers == 0:
        yield from map(function, range(count))
        return
    done = 0
    while done < count:
        with WorkerPool(_Noted(function), min(workers, count - done), timeout) as pool:
            asked = done
            while done < count:
                while asked < count and len(pool) < ahead * workers:
                    pool.submit(asked)
                    asked += 1
                done += 1
                try:
                    result = pool.receive()
                except WorkerDied as death:
                    yield _lost(death, timeout)
                    break  # the pool lacks a worker: go on with a new one
                yield result


def _lost(death: WorkerDied, timeout: float | None) -> Lost:
    if death.hung:
        return Lost(f"not read within {timeout:g} seconds", False, hung=True)
    code = death.exitcode or 0
    how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    return Lost(f"crashes the decoder ({how})", code != -signal.SIGKILL)
