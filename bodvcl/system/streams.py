"""Standard streams that never stop a long run: not if they are closed, broken, full or ASCII."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO


class SteadyStream:
    """A text stream that writes what it can.

    Characters that cannot be encoded are escaped. Once writing fails, further text is dropped.

    Args:
        stream: the stream that the text goes to; it answers for every other attribute.

    Attributes:
        lost: the error that made it drop text. None: nothing was dropped.
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
        """Send everything that is still in buffers, here and in C libraries, to the null device."""
        self.lost = error
        with contextlib.suppress(OSError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)


@contextlib.contextmanager
def steady_streams() -> Iterator[SteadyStream]:
    """Within the block, ``sys.stdout`` and ``sys.stderr`` are :class:`SteadyStream`; yields the first.

    Closed standard streams are opened on the null device, permanently. Otherwise the next opened file would
    get their number, and a library's output would be written into it.
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
