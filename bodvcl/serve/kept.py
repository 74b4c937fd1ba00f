"""Previews are made few at once and each only once; the last ones used are kept in memory."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable

AT_ONCE = 2
"""Previews that are made at the same time."""
MOST_BYTES = 256 * 2**20
"""Memory for previews."""


class Kept:
    """Results of expensive work, by key; safe for many threads.

    Args:
        at_once: results that are made at the same time; who asks for another one waits.
        most_bytes: bytes that are kept; the results that were not used for the longest time go first.
    """

    def __init__(self, at_once: int = AT_ONCE, most_bytes: int = MOST_BYTES) -> None:
        self._places = threading.BoundedSemaphore(at_once)
        self._most = most_bytes
        self._lock = threading.Lock()
        self._found: OrderedDict[Hashable, bytes] = OrderedDict()
        self._making: dict[Hashable, threading.Lock] = {}

    def get(self, key: Hashable, make: Callable[[], bytes]) -> bytes:
        """The result of a key; ``make`` is called if it is not kept, by one thread only.

        Raises:
            Exception: what ``make`` raises; nothing is kept then.
        """
        with self._lock:
            found = self._look(key)
            if found is not None:
                return found
            own = self._making.setdefault(key, threading.Lock())
        with own:
            with self._lock:
                found = self._look(key)
            if found is not None:
                return found
            try:
                with self._places:
                    found = make()
                with self._lock:
                    self._keep(key, found)
            finally:
                with self._lock:
                    self._making.pop(key, None)
            return found

    def _look(self, key: Hashable) -> bytes | None:
        if key in self._found:
            self._found.move_to_end(key)
        return self._found.get(key)

    def _keep(self, key: Hashable, result: bytes) -> None:
        self._found[key] = result
        size = sum(map(len, self._found.values()))
        while size > self._most and len(self._found) > 1:
            size -= len(self._found.popitem(last=False)[1])
