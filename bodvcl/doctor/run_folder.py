"""Can a run be written to its folder: room, speed, replacing of files, locks, times?"""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
import time
from collections.abc import Iterator
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

from bodvcl.doctor.apart import ask_child, end_with_check
from bodvcl.doctor.outcome import Outcome, failed, ok, warning
from bodvcl.runs.folder import write_atomically

CHECKPOINT = 550_000_000
"""Bytes of a checkpoint of Slow-R50 with a momentum encoder and LARS."""
_MEGABYTES = 64
_LONGEST = 3.0  # seconds for one measurement
_SLOW = 20e6  # bytes per second
_TIMES = 200
_SIZE = 2**16  # bytes of the file that is replaced
_APART = 1.0  # seconds


def existing(folder: Path) -> Path:
    """The folder, or the nearest above it that exists; it may be a file, or a link that leads nowhere."""
    whole = folder.absolute()
    return next(place for place in (whole, *whole.parents) if os.path.lexists(place))


@contextlib.contextmanager
def _inside(folder: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix=".bodvcl-doctor-", dir=existing(folder)) as made:
        yield Path(made)


def check_run_folder(folder: Path) -> Outcome:
    """The check ``run-folder``: it exists or can be created, and has room."""
    nearest = existing(folder)
    if not nearest.is_dir():
        what = "is a link that leads nowhere" if not nearest.exists() else "is not a folder"
        return failed(f"{nearest} {what}", "choose another --run-dir")
    try:
        with _inside(folder) as place:
            (place / "empty").touch()
    except OSError as error:
        return failed(
            f"{nearest} cannot be written: {error.strerror}",
            "make room, mend its permissions, or choose another --run-dir",
        )
    status = os.statvfs(nearest)
    where = f"{folder} {'exists' if folder.exists() else 'can be created'}"
    return judge_room(where, status.f_bavail * status.f_frsize, status.f_favail if status.f_files else None)


def judge_room(where: str, free: int, files: int | None) -> Outcome:
    """Whether there is room for checkpoints.

    Args:
        where: first words of the text.
        free: bytes.
        files: number of files that can still be created; None: no limit.
    """
    text = f"{where}, {free / 1e9:.1f} GB free"
    if files is not None and files < 100:
        return failed(f"{text}, but room for {files} more files only", "remove files: the inodes are used up")
    if free < 2 * CHECKPOINT:
        return failed(
            f"{text}: too little for two checkpoints of Slow-R50 (1.1 GB), the old one and the new one",
            "make room, or choose another --run-dir",
        )
    if free < 20 * CHECKPOINT:
        return warning(f"{text}: room for {free // CHECKPOINT} checkpoints of Slow-R50", "make room")
    return ok(text)


def check_write_speed(folder: Path) -> Outcome:
    """The check ``write-speed``: 64 MB, or what can be written in three seconds."""
    block = os.urandom(2**20)
    with tempfile.TemporaryFile(prefix=".bodvcl-doctor-", dir=existing(folder), buffering=0) as file:
        began, written = time.monotonic(), 0
        while written < _MEGABYTES and time.monotonic() - began < _LONGEST:
            for _ in range(4):
                if file.write(block) != len(block):
                    return failed(f"only {written} MB can be written", "make room, or raise the quota")
                written += 1
            os.fsync(file.fileno())
        seconds = time.monotonic() - began
    return judge_speed(written * len(block), seconds)


def judge_speed(written: int, seconds: float) -> Outcome:
    """Whether checkpoints are written fast enough: bytes and seconds, with the wait for the disk."""
    speed = written / max(seconds, 1e-9)
    text = f"{written / 1e6:.0f} MB at {speed / 1e6:.0f} MB/s, the wait for the disk included"
    if speed < _SLOW:
        return warning(
            f"{text}: a checkpoint of Slow-R50 takes {CHECKPOINT / speed:.0f} s",
            "choose a faster file system, or a larger --log.save-every",
        )
    return ok(text)


def check_rename(folder: Path) -> Outcome:
    """The check ``rename``: a reader never sees a missing or partial file while it is replaced many times."""
    context = get_context("fork")
    with _inside(folder) as place:
        path = place / "replaced"
        write_atomically(path, _content(0))
        ours, theirs = context.Pipe()
        reader = context.Process(target=_read_until_told, args=(path, theirs), daemon=True)
        reader.start()
        ours.recv()  # it reads
        began, times = time.monotonic(), 0
        while times < _TIMES and time.monotonic() - began < _LONGEST:
            times += 1
            write_atomically(path, _content(times))
        ours.send("stop")
        reads, fault = ours.recv()
        reader.join()
    if fault:
        return failed(
            f"a reader saw {fault} while the file was replaced",
            "checkpoints could be lost here: choose a --run-dir on a disk or a cluster file system",
        )
    return ok(f"{times} times replaced, {reads} times read whole meanwhile")


def _content(number: int) -> bytes:
    return bytes([number % 256]) * _SIZE


def _read_until_told(path: Path, writer: Connection) -> None:
    end_with_check()
    reads, fault = 0, ""
    while not fault and not (reads and writer.poll()):
        try:
            data = path.read_bytes()
        except OSError as error:
            fault = f"no file ({error.strerror})"
        else:
            reads += 1
            if len(data) != _SIZE or len(set(data)) != 1:
                fault = f"a part of it ({len(data)} of {_SIZE} bytes)"
        if reads + bool(fault) == 1:
            writer.send("reading")
    writer.send((reads, fault))


def check_locks(folder: Path) -> Outcome:
    """The check ``locks``: a second process cannot take the lock of a run."""
    with _inside(folder) as place, open(place / "lock", "w", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            return warning(
                f"no locks here ({error.strerror})",
                "never start two processes on one run; or mount it with locks (NFS: lock, Lustre: flock)",
            )
        taken = ask_child(lambda: _gets(place / "lock"))
    if taken:
        return warning("two processes got the same lock", "never start two processes on one run")
    return ok("a second process is refused")


def _gets(path: Path) -> bool:
    with open(path, "r+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True


def check_file_times(folder: Path) -> Outcome:
    """The check ``file-times``: the clock of the file system against that of this machine."""
    with _inside(folder) as place:
        before = time.time()
        (place / "new").touch()
        after = time.time()
        stamp = (place / "new").stat().st_mtime
    return judge_times(stamp - min(max(stamp, before), after))


def judge_times(apart: float) -> Outcome:
    """Whether the clock of the file system is right. ``apart``: seconds that it is ahead."""
    text = f"the file system's clock is {abs(apart):.1f} s {'ahead' if apart > 0 else 'behind'}"
    if abs(apart) > _APART:
        return warning(
            text, "bring the clocks together (chronyd): the newest run or copy is found by file times"
        )
    return ok("files get the time of this machine")
