"""Worker processes answer in order, survive a function that raises, and their death is reported."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time

import pytest
import torch

from bodvcl.data import pool as pool_module
from bodvcl.data.pool import WorkerDied, WorkerPool


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


def silent(task, note):
    time.sleep(4)
    return task


def several(task, note):
    for number in range(10):
        note(number)
        time.sleep(0.4)
    return task


@pytest.mark.parametrize("function", [silent, several])
def test_only_a_worker_that_stays_at_one_note_hangs(function, monkeypatch):
    monkeypatch.setattr(pool_module, "_LOOK", 0.2)
    with WorkerPool(function, 1, timeout=3) as pool:
        pool.submit(1)
        assert pool.receive() == 1


def test_closing_does_not_wait_for_a_busy_worker():
    pool = WorkerPool(act, 2)
    pool.submit(("sleep", 6000))
    start = time.monotonic()
    pool.close()
    assert time.monotonic() - start < 30
    assert not multiprocessing.active_children()


def test_a_forgotten_pool_ends_its_workers():
    pool = WorkerPool(act, 1)
    pool.submit(("give", 1))
    assert len(multiprocessing.active_children()) == 1
    del pool
    assert not multiprocessing.active_children()
