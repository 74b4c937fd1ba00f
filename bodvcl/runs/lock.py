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
"""Seconds to wait for a lock. The decoding processes of a killed training hold it until they end, soon."""


@dataclass(frozen=True)
class Holder:
    """The process that wrote a lock.

    Attributes:
        host: name of its machine.
        pid: its process number.
        started: its start, in kernel ticks since boot. It tells the process from a later one with the same
            number. None: the system does not say.
        since: date and time when it took the lock, for messages.
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
        """Whether the process still runs. None: it is on another machine, so this is unknown."""
        if self.host != socket.gethostname():
            return None
        return _exists(self.pid) and _started(self.pid) == self.started


@contextlib.contextmanager
def locked(run_dir: Path, option: str = "--run-dir") -> Iterator[None]:
    """Lock a run folder against other processes for the length of the block.

    The system releases the lock when the process ends, however it ends. A file system without locks causes a
    warning; a second process on the same machine is then still refused.

    Args:
        run_dir: the folder.
        option: option that chose it, for messages.

    Raises:
        UserError: another process holds the lock; the message names it. The folder is unchanged.
        OSError: the lock file cannot be written.
    """
    with open(os.open(run_dir / LOCK, os.O_RDWR | os.O_CREAT, 0o666), "r+", encoding="utf-8") as file:
        _take(file, run_dir, option)
        try:
            _write(file, json.dumps(asdict(Holder.here())))
            yield
        finally:
            with contextlib.suppress(OSError):
                _write(file, "")
                fcntl.flock(file, fcntl.LOCK_UN)


def refuse_locked(run_dir: Path) -> None:
    """Refuse a folder that another process on this machine has locked. Writes nothing.

    Raises:
        UserError: another process holds the lock; the message names it.
    """
    with contextlib.suppress(OSError), open(run_dir / LOCK, encoding="utf-8") as file:
        holder = _read(file)
        if holder is not None and holder.lives():
            raise _busy(run_dir, holder)


def _take(file: TextIO, run_dir: Path, option: str) -> None:
    end = time.monotonic() + _PATIENCE
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _read(file)
            if holder is None or holder.lives() is not False or time.monotonic() > end:
                raise _busy(run_dir, holder, option) from None
            time.sleep(0.1)
        except OSError as error:
            _go_on_without(run_dir, _read(file), error, option)
            return
        else:
            _mention_another_machine(run_dir, _read(file))
            return


def _go_on_without(run_dir: Path, holder: Holder | None, error: OSError, option: str) -> None:
    if holder is not None and holder.lives() is not False:
        raise _busy(run_dir, holder, option)
    warnings.warn(
        f"the file system of {run_dir} has no locks ({error.strerror or error}): "
        "do not start a second process on this run",
        stacklevel=2,
    )


def _mention_another_machine(run_dir: Path, holder: Holder | None) -> None:
    """Warn if another machine may hold the lock: some network file systems show only local locks."""
    if holder is not None and holder.lives() is None:
        warnings.warn(
            f"process {holder.pid} on {holder.host} locked {run_dir} on {holder.since} and has not "
            "released it: if it still runs, stop one of the two",
            stacklevel=2,
        )


def _busy(run_dir: Path, holder: Holder | None, option: str = "--run-dir") -> UserError:
    who, remedy = "another process", f"wait until it ends, or choose another {option}"
    if holder is not None:
        who = f"process {holder.pid} on {holder.host}, which began {holder.since}"
        remedy = f"wait until it ends, stop it (kill {holder.pid}), or choose another {option}"
        if holder.lives() is None:
            remedy += f"; if it has ended, remove {run_dir / LOCK}"
    return UserError(f"{run_dir} is being written by {who}: {remedy}")


def _write(file: TextIO, text: str) -> None:
    file.seek(0)
    file.truncate()
    file.write(text)
    file.flush()


def _read(file: TextIO) -> Holder | None:
    """The process that wrote the lock and has not released it. None: nobody, or it is not written yet."""
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
    """Start of a process in ticks since boot. None: it has ended, or /proc does not say."""
    try:
        # The name, in brackets, may hold spaces and brackets itself; state is the first field after it.
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        fields = stat.rpartition(")")[2].split()
        return None if fields[0] in "ZX" else int(fields[19])
    except (OSError, ValueError, IndexError):
        return None
