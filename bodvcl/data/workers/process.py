"""Number and behaviour of worker processes."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from multiprocessing.context import ForkContext, SpawnContext


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def default_workers() -> int:
    """Default number of decoding processes: one per core, minus one for the training, at most 16."""
    return max(1, min(16, available_cores() - 1))


def process_context() -> ForkContext | SpawnContext:
    """How processes are started: fork if the system has it (it takes milliseconds), else spawn."""
    if "fork" in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("fork")
    return multiprocessing.get_context("spawn")


def leave_signals_to_parent() -> None:
    """Ignore SIGINT and SIGTERM, which reach the whole process group: the main process ends its workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def end_with_parent(end: Callable[[], None] = lambda: os._exit(1)) -> None:
    """End this process soon after its parent has ended, for whatever reason.

    Args:
        end: called in a thread of its own when the parent has ended.
    """
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        end()

    threading.Thread(target=watch, daemon=True).start()
