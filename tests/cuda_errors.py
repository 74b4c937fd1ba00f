"""A test that breaks the CUDA context takes no later test along.

After an illegal address or the like every CUDA call of the process fails. With pytest-xdist the process ends
and another takes over; without it the session ends and says why.
"""

from __future__ import annotations

import os
import time
from collections.abc import Generator

import pytest

BREAKING = (
    "illegal memory access",
    "unspecified launch failure",
    "device-side assert",
    "misaligned address",
    "illegal instruction",
    "invalid program counter",
    "hardware stack error",
    "invalid address space",
    "launch timed out",
    "uncorrectable ECC error",
)
"""What CUDA says of the errors after which a context is of no more use."""
SECONDS_TO_REPORT = 1.0
"""What the other process has to read the report of the failed test."""

_broken = pytest.StashKey[str]()


def breaks_context(error: BaseException) -> str:
    """The phrase in the message of a CUDA error that breaks the context; "" for any other error."""
    text = str(error)
    found = next((phrase for phrase in BREAKING if phrase in text), "")
    return found if "CUDA" in text or "cuda" in type(error).__name__.lower() else ""


def pytest_exception_interact(node: pytest.Item, call: pytest.CallInfo) -> None:
    """Remember a broken context."""
    if call.excinfo is not None and (found := breaks_context(call.excinfo.value)):
        node.session.stash[_broken] = found


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None]:
    """End the process, or the session, after a test that broke the context."""
    yield
    found = item.session.stash.get(_broken, "")
    if not found:
        return
    if "PYTEST_XDIST_WORKER" in os.environ:
        time.sleep(SECONDS_TO_REPORT)
        os._exit(1)
    item.session.shouldfail = (
        f"CUDA: {found} in {item.nodeid}; every later CUDA call of this process would fail"
    )
