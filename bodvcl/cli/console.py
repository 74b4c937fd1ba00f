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
    """SIGTERM arrived. Half-written files are removed on the way out."""


def run_verb(name: str, body: Callable[[], int], *, answers: bool = True) -> int:
    """Run a verb. An error that the user can fix becomes one line on stderr and exit code 2.

    So do full disks, missing packages and the like (:mod:`bodvcl.system.surroundings`). A bug keeps its
    traceback.

    Args:
        name: name of the verb, for messages.
        body: does the work and returns the exit code.
        answers: whether the output is the purpose of the verb. If it is, output that cannot be written
            is an error (exit code 2), and a reader that closes the pipe ends the verb with exit code 141.

    Returns:
        The exit code of ``body``; 2 after an error of the user, 130 after Ctrl-C, 143 after SIGTERM.
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
    """Delay Ctrl-C until the end of the block; a second Ctrl-C acts at once, SIGTERM ends the process.

    For imports: an interrupt within an import would come out as an ordinary exception with a traceback.
    """
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
    """Print every warning in one line.

    Silent are matplotlib's messages about its cache, and threads that fail for a reason that the main thread
    is about to report.
    """

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
    """Whether this is the main thread and a signal still has the expected handler."""
    return threading.current_thread() is threading.main_thread() and signal.getsignal(number) == handler


@contextlib.contextmanager
def _handled(number: signal.Signals, handler: Any) -> Iterator[None]:
    before = signal.signal(number, handler)
    try:
        yield
    finally:
        signal.signal(number, before)
