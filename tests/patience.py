"""Waiting for other processes. No test passes or fails by how long they take: this only ends what hangs."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import pytest

PATIENCE = 30 * 60.0
"""Seconds after which something counts as hanging."""


def wait_until(
    condition: Callable[[], object], ended: Callable[[], bool] = lambda: False, every: float = 0.05
) -> None:
    """Look at ``condition`` until it holds.

    Args:
        condition: looked at again and again.
        ended: true once what is waited for can no longer come.
        every: seconds between two looks.

    Raises:
        AssertionError: it does not hold and what is waited for has ended, or is never going to.
    """
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert not (ended() and not condition()), "ended before it came to this"
        assert time.monotonic() < deadline, "hangs"
        time.sleep(every)


LONG = pytest.mark.skipif(not os.environ.get("BODVCL_LONG"), reason="takes long: BODVCL_LONG=1 runs it")
"""For variants of slow tests that CI has no time for."""
