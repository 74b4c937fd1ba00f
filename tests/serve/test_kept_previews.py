"""Few previews at once, each made once, the oldest dropped."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from bodvcl.serve.kept import Kept


def test_no_more_than_two_are_made_at_once_and_each_once():
    kept, lock = Kept(at_once=2), threading.Lock()
    running, most, made = 0, 0, []
    meeting = threading.Barrier(2, timeout=20)

    def make(key: int) -> bytes:
        nonlocal running, most
        with lock:
            running, made[len(made) :] = running + 1, [key]
            most = max(most, running)
        meeting.wait()  # two are in here at the same time, or this times out
        with lock:
            running -= 1
        return bytes([key])

    with ThreadPoolExecutor(12) as pool:
        found = list(pool.map(lambda key: kept.get(key, lambda: make(key)), [0, 1, 2, 3] * 3))
    assert found == [bytes([key]) for key in [0, 1, 2, 3] * 3]
    assert most == 2
    assert sorted(made) == [0, 1, 2, 3]


def test_what_was_not_used_for_the_longest_time_is_dropped():
    kept, made = Kept(most_bytes=25), []

    def get(key: str) -> None:
        kept.get(key, lambda: made.append(key) or bytes(10))

    for key in "ababcbac":
        get(key)
    assert "".join(made) == "abcac"


def test_a_failure_is_not_kept():
    kept = Kept()

    def fail() -> bytes:
        raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011
        kept.get("a", fail)
    assert kept.get("a", lambda: b"now") == b"now"
