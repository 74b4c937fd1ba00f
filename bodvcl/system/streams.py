"""Standard streams that a work of hours can rely on: closed, broken, full or ASCII, they never stop it."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO


class SteadyStream:
    """A text stream that writes what it can. What cannot be encoded is escaped; once writing fails, the rest
    is dropped.

    Args:
        stream: where the text goes; everything but writing is its own.

    Attributes:
        lost: why text was dropped, or None.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.lost: OSError | None = None

    def write(self, text: str) -> int:
        """Write, or drop; returns the number of characters."""
        if self.lost is None:
            try:
                self._stream.write(text)
            except UnicodeEncodeError:
                encoding = self._stream.encoding or "ascii"
                self.write(text.encode(encoding, "backslashreplace").decode(encoding))
            except OSError as error:
                self._lose(error)
        return len(text)

    def flush(self) -> None:
        """Flush, or drop."""
        if self.lost is None:
            try:
                self._stream.flush()
            except OSError as error:
                self._lose(error)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _lose(self, error: OSError) -> None:
        """What is still in buffers, here and in C libraries, goes nowhere, so that it fails nowhere."""
        self.lost = error
        with contextlib.suppress(OSError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)


@contextlib.contextmanager
def steady_streams() -> Iterator[SteadyStream]:
    """While entered, ``sys.stdout`` and ``sys.stderr`` are :class:`SteadyStream`; yields the first.

    Standard streams that are closed are opened on nothing, for good: else the next file that is opened gets
    their number, and what a library prints is written into it.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number: this one
    with contextlib.ExitStack() as stack:
        out = SteadyStream(sys.stdout or stack.enter_context(open(os.devnull, "w", encoding="utf-8")))
        err = SteadyStream(sys.stderr or stack.enter_context(open(os.devnull, "w", encoding="utf-8")))
        stack.enter_context(contextlib.redirect_stdout(out))
        stack.enter_context(contextlib.redirect_stderr(err))
        stack.callback(err.flush)
        stack.callback(out.flush)
        yield out
