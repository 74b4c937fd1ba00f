"""Worker processes that return results in the order of their tasks.

The DataLoader of PyTorch reports a dead worker by an exception from a signal handler, at any line of the
training step. Here it is reported where a result is awaited, together with what the worker was doing.
"""

from __future__ import annotations

import atexit
import mmap
import os
import pickle
import traceback
import warnings
import weakref
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from typing import Any

import torch

from bodvcl.data.workers.parcels import SHARED, pack
from bodvcl.data.workers.process import end_with_parent, leave_signals_to_parent, process_context
from bodvcl.errors import UserError
from bodvcl.system.surroundings import as_user_errors

Note = Callable[[int], None]

_END = 5.0  # seconds to wait for a killed process: one that waits for a lost network share does not end
_LOOK = 0.5  # seconds between two looks at a worker that may hang


class WorkerDied(Exception):
    """A worker process ended without an answer, or was ended because it took too long.

    Attributes:
        exitcode: exit code of the process; minus the signal's number if a signal ended it.
        task: its task.
        note: number that it last noted; -1: none.
        hung: it was ended because it stayed at this note for longer than `timeout` seconds.
    """

    def __init__(self, exitcode: int | None, task: Any, note: int, hung: bool = False) -> None:
        super().__init__(exitcode, task, note, hung)
        self.exitcode = exitcode
        self.task = task
        self.note = note
        self.hung = hung


class WorkerPool:
    """Runs a function in processes; results are returned in the order of the tasks.

    Args:
        function: called as function(task, note); it may call note(number) to say what it is doing.
        workers: number of processes. Process k modulo this number does task k.
        timeout: seconds that a worker may stay at one note. None: no limit.
    """

    def __init__(
        self, function: Callable[[Any, Note], Any], workers: int, timeout: float | None = None
    ) -> None:
        context = process_context()
        self._pending: deque[tuple[int, Any]] = deque()
        self._submitted = 0
        self._connections: list[Connection] = []
        self._timeout = timeout
        self._notes = _shared_numbers(context, workers)
        self._shares = True
        self._processes: list[BaseProcess] = []
        self._kill = weakref.finalize(self, _kill, self._processes, self._connections, os.getpid())
        atexit.register(self._kill)  # before multiprocessing's own clean-up, which would wait for the workers
        for number in range(workers):
            ours, theirs = context.Pipe()
            process = context.Process(target=_work, args=(function, theirs, self._notes, number), daemon=True)
            process.start()
            theirs.close()
            self._processes.append(process)
            self._connections.append(ours)

    def __len__(self) -> int:
        """Number of tasks whose result has not been received."""
        return len(self._pending)

    def submit(self, task: Any) -> None:
        """Give a task to a worker, without waiting."""
        worker = self._submitted % len(self._processes)
        self._submitted += 1
        self._pending.append((worker, task))
        with suppress(OSError):  # the worker is dead: receive() says so when it is this task's turn
            self._connections[worker].send(task)

    def receive(self) -> Any:
        """Wait for the result of the oldest task, and return it.

        Raises:
            WorkerDied: its worker ended without a result, or hung and was ended.
            UserError: the function raised it, or ran out of disk space or memory.
            RuntimeError: the function raised another error; the message contains the traceback.
        """
        worker, task = self._pending.popleft()
        process, connection = self._processes[worker], self._connections[worker]
        try:
            if self._timeout and self._hangs(worker, self._timeout):
                process.kill()
                process.join(_END)
                raise WorkerDied(process.exitcode, task, self._notes[worker], hung=True)
            trouble, shared = pickle.loads(connection.recv_bytes())
            result = pickle.loads(connection.recv_bytes())
        except (EOFError, OSError):
            process.join(_END)
            raise WorkerDied(process.exitcode, task, self._notes[worker]) from None
        if isinstance(trouble, UserError):
            raise trouble
        if trouble:
            raise RuntimeError(f"in a decoding process:\n{trouble}")
        if self._shares and not shared:
            self._shares = False
            warnings.warn(
                f"shared memory ({SHARED}) is full, too small or cannot be written: decoded clips are copied "
                "through pipes, which is slower; free some of it, or use --workers 0",
                stacklevel=2,
            )
        return result

    def _hangs(self, worker: int, timeout: float) -> bool:
        """Wait until a worker answers or ends; True if it stays at one note for longer than the limit.

        Checks are counted instead of time, so time in which the whole program is stopped is ignored.
        """
        last, looks = -1, 0
        while not self._connections[worker].poll(_LOOK):
            note = self._notes[worker]
            looks = looks + 1 if note == last else 0
            last = note
            if note >= 0 and looks * _LOOK >= timeout:
                return True
        return False

    def close(self) -> None:
        """End the processes at once, whatever they are doing."""
        self._kill()
        atexit.unregister(self._kill)

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _kill(processes: list[BaseProcess], connections: list[Connection], owner: int) -> None:
    if os.getpid() != owner:
        return
    for process in processes:
        process.kill()
    for process in processes:
        process.join(_END)
    for connection in connections:
        connection.close()


def _shared_numbers(context: BaseContext, count: int) -> Any:
    """Integers that later processes share, all -1.

    With fork they are in anonymous memory, so no file system needs room for them.
    """
    numbers: Any = (
        memoryview(mmap.mmap(-1, 8 * count)).cast("q")
        if context.get_start_method() == "fork"
        else context.Array("q", count, lock=False)
    )
    for place in range(count):
        numbers[place] = -1
    return numbers


def _work(function: Callable[[Any, Note], Any], connection: Connection, notes: Any, own: int) -> None:
    leave_signals_to_parent()
    end_with_parent()
    torch.set_num_threads(1)

    def write_note(number: int) -> None:
        notes[own] = number

    while True:
        try:
            task = connection.recv()
        except EOFError:
            return
        result: Any = None
        trouble: UserError | str | None = None
        try:
            with as_user_errors():
                result = function(task, write_note)
        except UserError as error:
            trouble = error
        except Exception:
            trouble = traceback.format_exc()
        notes[own] = -1
        content, shared = pack(result)
        connection.send_bytes(pickle.dumps((trouble, shared)))
        connection.send_bytes(content)
