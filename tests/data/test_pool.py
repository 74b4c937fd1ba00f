"""Worker processes answer in order, survive a function that raises, and their death is reported."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from multiprocessing.connection import Connection
from typing import Any

import pytest
import torch
from patience import PATIENCE, wait_until

from bodvcl.data.workers import pool as pool_module
from bodvcl.data.workers.pool import WorkerDied, WorkerPool


def act(task, note):
    kind, number = task
    note(number)
    if kind == "sleep":
        time.sleep(number / 100)
    if kind == "raise":
        raise ValueError(f"no {number}")
    if kind == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == "exit":
        os._exit(3)
    return torch.full((2,), number)


def test_results_come_in_the_order_of_the_tasks():
    with WorkerPool(act, 3) as pool:
        numbers = [9, 1, 5, 0, 7, 2, 8]
        for number in numbers:
            pool.submit(("sleep", number))
        assert len(pool) == 7
        assert [pool.receive()[0].item() for _ in numbers] == numbers
        assert len(pool) == 0


def test_an_error_carries_its_traceback_and_the_worker_goes_on():
    with WorkerPool(act, 1) as pool:
        pool.submit(("raise", 4))
        pool.submit(("give", 5))
        with pytest.raises(RuntimeError, match=r"(?s)decoding process.*in act.*ValueError: no 4"):
            pool.receive()
        assert pool.receive().tolist() == [5, 5]


@pytest.mark.parametrize(("kind", "code"), [("die", -signal.SIGKILL), ("exit", 3)])
def test_a_death_says_what_was_being_done(kind, code):
    with WorkerPool(act, 2) as pool:
        pool.submit(("give", 1))
        pool.submit((kind, 6))
        pool.submit(("give", 2))
        pool.submit(("give", 3))
        assert pool.receive()[0] == 1
        with pytest.raises(WorkerDied) as caught:
            pool.receive()
        assert (caught.value.exitcode, caught.value.task, caught.value.note) == (code, (kind, 6), 6)
        assert pool.receive()[0] == 2
        with pytest.raises(WorkerDied):
            pool.receive()


def test_a_worker_that_hangs_is_ended():
    with WorkerPool(act, 2, timeout=4) as pool:
        pool.submit(("sleep", 360000))
        pool.submit(("give", 1))
        with pytest.raises(WorkerDied) as caught:
            pool.receive()
        assert (caught.value.hung, caught.value.task, caught.value.note) == (True, ("sleep", 360000), 360000)
        assert caught.value.exitcode == -signal.SIGKILL
        assert pool.receive()[0] == 1
        assert len(multiprocessing.active_children()) == 1


class Watched:
    """A connection on which an answer comes after so many looks, at each of which the worker is at a note."""

    def __init__(self, connection: Connection, shared: Any, notes: list[int]) -> None:
        self._connection, self._shared, self._notes = connection, shared, iter(notes)

    def poll(self, timeout: float) -> bool:
        assert timeout == pool_module._LOOK
        if (note := next(self._notes, None)) is None:
            return True
        self._shared[0] = note
        return False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


@pytest.mark.parametrize(
    ("notes", "hangs"),
    [
        ([-1] * 1000, False),
        ([number // 5 for number in range(1000)], False),
        ([3] * 6, False),
        ([3] * 7, True),
        ([-1] * 100 + [3] * 7, True),
        ([1, 2] * 50 + [2] * 7, True),
    ],
)
def test_only_a_worker_that_stays_at_one_note_hangs(notes, hangs):
    """Looks are what counts, 6 of half a second here: a program that gets no processor time looks less."""
    assert pool_module._LOOK == 0.5
    with WorkerPool(act, 1, timeout=3) as pool:
        pool.submit(("give", 1))
        assert pool._connections[0].poll(PATIENCE)
        pool._connections[0] = Watched(pool._connections[0], pool._notes, notes)
        if hangs:
            with pytest.raises(WorkerDied) as caught:
                pool.receive()
            assert (caught.value.hung, caught.value.note) == (True, notes[-1])
        else:
            assert pool.receive()[0] == 1


def test_closing_does_not_wait_for_a_busy_worker():
    pool = WorkerPool(act, 2)
    pool.submit(("sleep", 60000))
    wait_until(lambda: pool._notes[0] == 60000)
    workers = multiprocessing.active_children()
    pool.close()
    assert [worker.exitcode for worker in workers] == [-signal.SIGKILL] * 2, "they ended by themselves"
    assert not multiprocessing.active_children()


def test_a_forgotten_pool_ends_its_workers():
    pool = WorkerPool(act, 1)
    pool.submit(("give", 1))
    assert len(multiprocessing.active_children()) == 1
    del pool
    assert not multiprocessing.active_children()
