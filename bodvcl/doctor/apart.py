"""A check in a process of its own: one that raises, crashes or hangs takes nothing else along."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import TypeVar

from bodvcl.doctor.outcome import Outcome, failed
from bodvcl.errors import UserError
from bodvcl.system.surroundings import explain

Answer = TypeVar("Answer")

_GRACE = 1.0  # seconds in which a check that is ended can remove its files
_LAST_WORDS = 300  # characters of the output of a process that ended without an answer


def run_apart(check: Callable[[], Outcome], seconds: float) -> Outcome:
    """The outcome of ``check``, computed in a process that is started by fork.

    The process and those that it started are ended when it has answered, or after ``seconds``. What they
    print is not shown.

    Args:
        check: may raise, crash or hang.
        seconds: time limit.
    """
    if seconds <= 0:
        return failed("not run: the time for all checks is used up", "a larger --seconds")
    try:
        return _run_apart(check, seconds)
    except OSError as error:  # too many processes or open files
        return raised(error)


def _run_apart(check: Callable[[], Outcome], seconds: float) -> Outcome:
    context = get_context("fork")
    said = os.memfd_create("doctor")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_answer, args=(check, theirs, said))
    process.start()
    theirs.close()
    try:
        if not ours.poll(seconds):
            return failed(
                f"no answer within {seconds:.0f} seconds",
                "a network file system, a driver or a connection hangs; --seconds waits longer",
            )
        with contextlib.suppress(EOFError):
            answer: Outcome = ours.recv()
            return answer
        process.join(1)
        return _died(process.exitcode, said)
    finally:
        _end_group(process)
        process.join(1)  # a process that waits for a lost network share does not end: it is left behind
        ours.close()
        os.close(said)


def ask_child(function: Callable[[], Answer]) -> Answer:
    """What ``function`` returns in a process that is started by fork.

    Raises:
        EOFError: the process ended without an answer.
    """
    context = get_context("fork")
    ours, theirs = context.Pipe(duplex=False)

    def answer() -> None:
        end_with_check()
        theirs.send(function())

    process = context.Process(target=answer, daemon=True)
    process.start()
    theirs.close()
    answered: Answer = ours.recv()
    process.join()
    return answered


def _answer(check: Callable[[], Outcome], connection: Connection, said: int) -> None:
    from bodvcl.data.workers.process import end_with_parent

    os.setpgid(0, 0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends this process
    signal.signal(signal.SIGTERM, _stop)
    end_with_parent(_end_own_group)
    os.dup2(said, 1)
    os.dup2(said, 2)
    sys.stdout = sys.stderr = open(1, "w", encoding="utf-8", errors="replace", closefd=False)  # noqa: SIM115
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)  # threads of OpenMP do not survive a fork
    try:
        outcome = check()
    except Exception as error:
        outcome = raised(error)
    connection.send(outcome)


def end_with_check() -> None:
    """Let this process, which a check has started, end with it. The first call of such a process."""
    from bodvcl.data.workers.process import end_with_parent

    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    end_with_parent()


def _stop(*_: object) -> None:
    """End the check such that it removes its files; a second signal does not disturb it."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(128 + signal.SIGTERM)


def _end_own_group() -> None:
    """End this check, with time to remove its files, and what it has started."""
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_GRACE)
    os.killpg(0, signal.SIGKILL)


def raised(error: Exception) -> Outcome:
    """The outcome of a check that raised."""
    text = str(error) if isinstance(error, UserError) else explain(error)
    if text is not None:
        return failed(text, "mend this, and call bodvcl doctor again")
    first = (str(error).strip().splitlines() or [""])[0]
    return failed(f"{type(error).__name__}: {first}", "if the message does not tell what to do, report it")


def _died(code: int | None, said: int) -> Outcome:
    how = f"exit code {code}"
    if code is not None and code < 0:
        how = signal.Signals(-code).name
    size = os.fstat(said).st_size
    text = os.pread(said, _LAST_WORDS, max(0, size - _LAST_WORDS)).decode("utf-8", "replace")
    last = (text.strip().splitlines() or [""])[-1]
    return failed(
        f"the check crashed ({how}){': ' + last if last else ''}",
        "a library that crashes here would end a training, too: install another version of it",
    )


def _end_group(process: BaseProcess) -> None:
    """End a check, which gets a moment to remove its files, and what it has started."""
    if process.pid is None:
        return
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGTERM)
    process.join(_GRACE)
    for kill in (os.killpg, os.kill):  # it may not have its own group yet
        with contextlib.suppress(ProcessLookupError, PermissionError):
            kill(process.pid, signal.SIGKILL)
