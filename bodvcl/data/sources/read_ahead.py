"""Work for the next batches, done by threads while the current one is used."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Work = TypeVar("Work")


def read_ahead(
    submit: Callable[[ThreadPoolExecutor, int], Work], numbers: Iterable[int], *, threads: int, ahead: int
) -> Generator[Work]:
    """What ``submit(pool, number)`` returns for each number, in order and some numbers ahead of its use.

    Args:
        submit: hands the work of one batch to the pool, without waiting for it.
        numbers: numbers of the batches, perhaps without end.
        threads: threads of the pool.
        ahead: batches in work beyond the one that is handed out.
    """
    pending: deque[Work] = deque()
    pool = ThreadPoolExecutor(threads)
    try:
        for number in numbers:
            pending.append(submit(pool, number))
            if len(pending) > ahead:
                yield pending.popleft()
        yield from pending
    finally:  # does not wait: a forgotten source may be collected in one of these threads
        pool.shutdown(wait=False, cancel_futures=True)
