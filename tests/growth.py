"""Whether memory grows with use: by what stays after each of many rounds, not by one figure.

An allocator keeps some of what was given back, more of it on a busy machine, and grows in steps now and then.
A leak grows in every round.
"""

from __future__ import annotations

import ctypes
import gc
import itertools
import os
import statistics
from collections.abc import Callable

import pytest

needs_proc = pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="needs /proc")


def resident() -> int:
    """Bytes of memory that this process holds, without what its allocator could give back."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc
    if trim is not None:
        trim(0)
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def growth(use: Callable[[int], object], rounds: int, measure: Callable[[], int] = resident) -> float:
    """By how much ``measure()`` grows in a round ``use(number)``: the median, after a third to warm up."""
    marks = []
    gc.collect()
    gc.freeze()  # so that `resident` looks through new objects only, not through all that other tests left
    try:
        for number in range(rounds):
            use(number)
            marks.append(measure())
    finally:
        gc.unfreeze()
    return statistics.median(b - a for a, b in itertools.pairwise(marks[rounds // 3 :]))
