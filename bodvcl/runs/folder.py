"""The folder of a run: finding, creating and guarding it against being overwritten."""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import time
from collections.abc import Iterator
from pathlib import Path

from bodvcl.errors import UserError
from bodvcl.runs.lock import LOCK, locked

RUNS = Path("runs")


def newest_run(root: Path = RUNS) -> Path | None:
    """The pre-training in ``root`` whose configuration was written last. None: there is none.

    What starts from a checkpoint, as a fine-tuning does, is another kind of run.
    """
    newest_first = sorted(root.glob("*/config.yaml"), key=lambda p: p.stat().st_mtime, reverse=True)
    return next((p.parent for p in newest_first if verb_of_run(p) == "train"), None)


def verb_of_run(config: Path) -> str:
    """The verb that a run's ``config.yaml`` is of: "train", "finetune" or "detect".

    Only a pre-training starts from no checkpoint, and only a detection has boxes. A file that is missing
    counts as a pre-training.
    """
    text = config.read_text(encoding="utf-8", errors="replace") if config.exists() else ""
    keys = {line.partition(":")[0] for line in text.splitlines()}
    return "train" if "checkpoint" not in keys else "detect" if "boxes" in keys else "finetune"


@contextlib.contextmanager
def open_run_dir(run_dir: Path | None, name: str, resume: bool) -> Iterator[Path]:
    """Create the folder of a run, or open it again; within the block no other process can open it.

    If the block ends with an error before anything was written there, a new folder is removed again.

    Args:
        run_dir: the folder. None: the newest run if ``resume``, otherwise a new
            ``runs/<date>-<time>-<name>``, with a number at the end if that name is taken.
        name: end of a new folder's name.
        resume: whether an existing run may be continued.

    Raises:
        UserError: the folder already holds a run and ``resume`` is false, another process writes to it, or
            it cannot be written to.
    """
    with contextlib.ExitStack() as held:
        try:
            new = run_dir is None or not run_dir.exists()
            if run_dir is None:
                run_dir = (newest_run() if resume else None) or _new_folder(name)
            refuse_other_run(run_dir, resume)
            run_dir.mkdir(parents=True, exist_ok=True)
            if new:
                held.push(functools.partial(_remove_if_empty, run_dir))
            held.enter_context(locked(run_dir))
            refuse_other_run(run_dir, resume)  # a run may have begun, and ended, since the first look
            (run_dir / "checkpoint").mkdir(exist_ok=True)
            probe = run_dir / f".write-test-{os.getpid()}"
            probe.write_bytes(b"")
            probe.unlink()
        except OSError as error:
            raise UserError(
                f"cannot write to {run_dir or RUNS}: {error.strerror or error}; choose another --run-dir"
            ) from error
        yield run_dir


def _remove_if_empty(run_dir: Path, error: type[BaseException] | None, *_: object) -> None:
    """After an error, remove a folder in which nothing was written but the lock."""
    if error is None or any(path.is_file() and path.name != LOCK for path in run_dir.rglob("*")):
        return
    with contextlib.suppress(OSError):  # another process may have begun to write there
        (run_dir / "checkpoint").rmdir()
        (run_dir / LOCK).unlink()
        run_dir.rmdir()


def refuse_other_run(run_dir: Path, resume: bool) -> None:
    """Refuse to start a run in a folder that already holds one.

    Raises:
        UserError: the folder holds a run, and ``resume`` is false.
    """
    if not resume and (run_dir / "config.yaml").exists():
        raise UserError(
            f"{run_dir} already holds a run: continue it with --resume, or choose another --run-dir"
        )


def create_folder(folder: Path, option: str) -> None:
    """Create the folder of the results of several runs, unless it exists.

    Args:
        folder: the folder.
        option: option that chose it, for the message.

    Raises:
        UserError: it cannot be created.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"cannot write to {folder}: {error.strerror or error}; choose another {option}"
        ) from error


def _new_folder(name: str) -> Path:
    """Create a folder that did not exist, under a name that no other process took."""
    RUNS.mkdir(parents=True, exist_ok=True)
    first = RUNS / f"{time.strftime('%Y%m%d-%H%M%S')}-{name}"
    for number in itertools.count(1):
        folder = first if number == 1 else first.with_name(f"{first.name}-{number}")
        with contextlib.suppress(FileExistsError):
            folder.mkdir()
            break
    return folder


@contextlib.contextmanager
def replaced_atomically(path: Path) -> Iterator[Path]:
    """A temporary name to write a large file under; when the block ends without error it becomes ``path``.

    A reader of ``path`` sees either the old content or the new, never a part.

    Raises:
        OSError: the file cannot be written. The old content stays, and no temporary file is left.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield temporary
        with open(temporary, "rb") as f:
            os.fsync(f.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that a reader sees either the old content or the new, never a part.

    Raises:
        OSError: the file cannot be written. The old content stays, and no temporary file is left.
    """
    with replaced_atomically(path) as temporary:
        temporary.write_bytes(data)
