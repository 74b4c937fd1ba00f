"""One process at a time writes into the folder of a run."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import time
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TextIO

from bodvcl.errors import UserError

LOCK = ".lock"

_PATIENCE = 10.0
"""Seconds to wait for the decoding processes of one that was killed: they hold its lock, and end soon."""


@dataclass(frozen=True)
class Holder:
    """The process that wrote a lock.

    Attributes:
        host: name of its machine.
        pid: its number there.
        started: when it started, in the kernel's ticks since boot: another process that has the number now
            started at another time. None where the system does not tell.
        since: when it took the lock, for the user.
    """

    host: str
    pid: int
    started: int | None
    since: str

    @classmethod
    def here(cls) -> Holder:
        """This process, now."""
        pid = os.getpid()
        return cls(socket.gethostname(), pid, _started(pid), time.strftime("%Y-%m-%d %H:%M:%S"))

    def lives(self) -> bool | None:
        """Whether the process still runs; None on another machine, where that cannot be seen."""
        if self.host != socket.gethostname():
            return None
        return _exists(self.pid) and _started(self.pid) == self.started


@contextlib.contextmanager
def locked(run_dir: Path) -> Iterator[None]:
    """While entered, no other process can enter it for the same folder. The system takes the lock from a
    process that ends, however it ends.

    Where the file system has no locks, a warning says so; processes of the same machine are still refused.

    Raises:
        UserError: another process holds the lock, and which; the folder is not altered.
        OSError: the lock cannot be written.
    """
    with open(os.open(run_dir / LOCK, os.O_RDWR | os.O_CREAT, 0o666), "r+", encoding="utf-8") as file:
        _take(file, run_dir)
        try:
            _write(file, json.dumps(asdict(Holder.here())))
            yield
        finally:
            with contextlib.suppress(OSError):
                _write(file, "")
                fcntl.flock(file, fcntl.LOCK_UN)


def refuse_locked(run_dir: Path) -> None:
    """Refuse a folder that a process on this machine is seen to write, without writing anything.

    Raises:
        UserError: as :func:`locked`.
    """
    with contextlib.suppress(OSError), open(run_dir / LOCK, encoding="utf-8") as file:
        holder = _read(file)
        if holder is not None and holder.lives():
            raise _busy(run_dir, holder)


def _take(file: TextIO, run_dir: Path) -> None:
    end = time.monotonic() + _PATIENCE
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _read(file)
            if holder is None or holder.lives() is not False or time.monotonic() > end:
                raise _busy(run_dir, holder) from None
            time.sleep(0.1)
        except OSError as error:
            _go_on_without(run_dir, _read(file), error)
            return
        else:
            _mention_another_machine(run_dir, _read(file))
            return


def _go_on_without(run_dir: Path, holder: Holder | None, error: OSError) -> None:
    if holder is not None and holder.lives() is not False:
        raise _busy(run_dir, holder)
    warnings.warn(
        f"the file system of {run_dir} has no locks ({error.strerror or error}): "
        "do not start a second process on this run",
        stacklevel=2,
    )


def _mention_another_machine(run_dir: Path, holder: Holder | None) -> None:
    """The lock is free, but some network file systems show a machine its own locks only."""
    if holder is not None and holder.lives() is None:
        warnings.warn(
            f"process {holder.pid} on {holder.host} began to write {run_dir} {holder.since} and did not say "
            "that it ended: if it still runs, stop one of the two",
            stacklevel=2,
        )


def _busy(run_dir: Path, holder: Holder | None) -> UserError:
    who, remedy = "another process", "wait until it ends, or choose another --run-dir"
    if holder is not None:
        who = f"process {holder.pid} on {holder.host}, which began {holder.since}"
        remedy = f"wait until it ends, stop it (kill {holder.pid}), or choose another --run-dir"
        if holder.lives() is None:
            remedy += f"; if it has ended, remove {run_dir / LOCK}"
    return UserError(f"{run_dir} is being written by {who}: {remedy}")


def _write(file: TextIO, text: str) -> None:
    file.seek(0)
    file.truncate()
    file.write(text)
    file.flush()


def _read(file: TextIO) -> Holder | None:
    """Who wrote the lock and did not release it; None where nobody did, or it is not yet written."""
    file.seek(0)
    try:
        return Holder(**json.loads(file.read()))
    except (ValueError, TypeError):
        return None


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _started(pid: int) -> int | None:
    """Start of a process in ticks since boot; None for one that has ended, or where /proc does not tell."""
    try:
        # The name, in brackets, may hold spaces and brackets itself; state is the first field after it.
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        fields = stat.rpartition(")")[2].split()
        return None if fields[0] in "ZX" else int(fields[19])
    except (OSError, ValueError, IndexError):
        return None
