"""How every verb meets the terminal: one-line errors, exit codes, signals and streams."""

from __future__ import annotations

import contextlib
import errno
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from bodvcl.errors import UserError
from bodvcl.system.streams import SteadyStream, steady_streams
from bodvcl.system.surroundings import check_variables, explain, give_compilers_a_cache


class Terminated(KeyboardInterrupt):
    """SIGTERM: files that are half written are removed on the way out."""


def run_verb(name: str, body: Callable[[], int], *, answers: bool = True) -> int:
    """Run a verb; a mistake that the user can mend, and what :mod:`bodvcl.system.surroundings` knows, become
    one line on stderr and exit code 2.

    Ctrl-C is 130, SIGTERM 143. A fault of the program keeps its traceback.

    Args:
        name: of the verb, for what is printed.
        body: does the work and returns the exit code.
        answers: whether what it prints is what it is run for. Then a reader that closed the pipe makes the
            exit code 141, and output that cannot be written 2; else the work counts.
    """
    with steady_streams() as out, _one_line_each(name), _terminable():
        try:
            check_variables()
            give_compilers_a_cache()
            code = body()
        except KeyboardInterrupt as stop:
            terminated = isinstance(stop, Terminated)
            print(f"bodvcl {name}: {'terminated' if terminated else 'interrupted'}", file=sys.stderr)
            return 143 if terminated else 130
        except Exception as error:
            text = str(error) if isinstance(error, UserError) else explain(error)
            if text is None:
                raise
            print(f"bodvcl {name}: error: {text}", file=sys.stderr)
            return 2
        out.flush()
        return _unheard(name, out) if answers and code == 0 and out.lost else code


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """While entered, Ctrl-C waits, a second one does not, and SIGTERM ends the process on the spot. For
    imports: an exception in their midst comes out of them as any other, with a traceback."""
    asked = False

    def remember(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True

    with contextlib.ExitStack() as stack:
        if _usual(signal.SIGINT, signal.default_int_handler):
            stack.enter_context(_handled(signal.SIGINT, remember))
        if _usual(signal.SIGTERM, _stop):
            stack.enter_context(_handled(signal.SIGTERM, signal.SIG_DFL))
        yield
    if asked:
        raise KeyboardInterrupt


def _unheard(name: str, out: SteadyStream) -> int:
    if out.lost is None or out.lost.errno == errno.EPIPE:  # the reader, `head` say, has seen enough
        return 141
    print(f"bodvcl {name}: error: the output cannot be written: {out.lost.strerror}", file=sys.stderr)
    return 2


@contextlib.contextmanager
def _one_line_each(name: str) -> Iterator[None]:
    """Warnings are one line each; matplotlib's remarks on its cache, and threads that met what their owner is
    going to meet, say nothing."""

    def show(message: Warning | str, *_: object, **__: object) -> None:
        print(f"bodvcl {name}: warning: {message}", file=sys.stderr)

    def end(failure: threading.ExceptHookArgs) -> None:
        if failure.exc_value is None or explain(failure.exc_value) is None:
            before(failure)

    import logging  # not at the start: until a verb runs, Ctrl-C shows a traceback

    remarks = logging.getLogger("matplotlib")
    level = remarks.level
    remarks.setLevel(logging.ERROR)
    before, threading.excepthook = threading.excepthook, end
    try:
        with warnings.catch_warnings():
            warnings.showwarning = show
            yield
    finally:
        threading.excepthook = before
        remarks.setLevel(level)


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        if _usual(signal.SIGTERM, signal.SIG_DFL):
            stack.enter_context(_handled(signal.SIGTERM, _stop))
        yield


def _stop(number: int, frame: FrameType | None) -> None:
    raise Terminated


def _usual(number: signal.Signals, handler: object) -> bool:
    """Whether this thread may handle a signal, and its handler is the one that is expected."""
    return threading.current_thread() is threading.main_thread() and signal.getsignal(number) == handler


@contextlib.contextmanager
def _handled(number: signal.Signals, handler: Any) -> Iterator[None]:
    before = signal.signal(number, handler)
    try:
        yield
    finally:
        signal.signal(number, before)
