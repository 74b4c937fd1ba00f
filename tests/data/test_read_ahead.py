"""Work is done ahead of its use, in order, and is dropped when nobody waits for it any more."""

from __future__ import annotations

import itertools
import threading
from concurrent.futures import Future

from bodvcl.data.sources.read_ahead import read_ahead


def test_results_are_in_order_and_a_few_are_ahead():
    asked: list[int] = []

    def submit(pool, number: int) -> Future[int]:
        asked.append(number)
        return pool.submit(lambda: number * number)

    results = read_ahead(submit, range(5), threads=2, ahead=2)
    assert next(results).result() == 0
    assert asked == [0, 1, 2]
    assert [future.result() for future in results] == [1, 4, 9, 16]


def test_closing_cancels_what_has_not_begun():
    blocked, futures = threading.Event(), []

    def submit(pool, number: int) -> Future[bool]:
        futures.append(pool.submit(blocked.wait, 60))
        return futures[-1]

    results = read_ahead(submit, itertools.count(), threads=1, ahead=3)
    next(results)
    results.close()
    assert [future.cancelled() for future in futures] == [False, True, True, True]
    blocked.set()
    assert futures[0].result()
