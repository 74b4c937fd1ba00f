"""The folder of a run: where it is, what it holds, and the guard against overwriting one."""

from __future__ import annotations

import os
import time
from pathlib import Path

from bodvcl.errors import UserError

RUNS = Path("runs")


def newest_run(root: Path = RUNS) -> Path | None:
    """The run below ``root`` whose configuration was written last, or None."""
    runs = sorted(root.glob("*/config.yaml"), key=lambda p: p.stat().st_mtime)
    return runs[-1].parent if runs else None


def open_run_dir(run_dir: Path | None, name: str, resume: bool) -> Path:
    """Create the folder of a run, or open it again.

    Args:
        run_dir: the folder; None: a new ``runs/<date>-<time>-<name>``, or with ``resume`` the newest run.
        name: end of a new folder's name.
        resume: whether an existing run may be continued.

    Raises:
        UserError: the folder already holds a run and ``resume`` is false, or cannot be written to.
    """
    if run_dir is None:
        newest = newest_run() if resume else None
        run_dir = newest or RUNS / f"{time.strftime('%Y%m%d-%H%M%S')}-{name}"
    if not resume and (run_dir / "config.yaml").exists():
        raise UserError(
            f"{run_dir} already holds a run: continue it with --resume, or choose another --run-dir"
        )
    try:
        (run_dir / "checkpoint").mkdir(parents=True, exist_ok=True)
        probe = run_dir / f".write-test-{os.getpid()}"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise UserError(
            f"cannot write to {run_dir}: {error.strerror or error}; choose another --run-dir"
        ) from error
    return run_dir


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that a reader sees the old content or the new, never a part; on failure the old one
    stays.

    Raises:
        OSError: as the file system reports it; no temporary file is left behind.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(temporary, "wb") as f:
            f.write(data)
            f.flush()
            os.fsync(f.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
