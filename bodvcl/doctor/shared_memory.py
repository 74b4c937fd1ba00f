"""Is there room in /dev/shm for the batches that the decoding processes hand over?"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from bodvcl.data.workers.parcels import SHARED
from bodvcl.data.workers.process import default_workers
from bodvcl.doctor.outcome import Outcome, failed, ok, warning

BATCH = 64 * 2 * 8 * 224 * 224 * 3
"""Bytes of a batch of the recipes for Kinetics-400: 64 videos, 2 clips of 8 frames of 224 x 224 pixels. The
processes of a training share it."""
_AHEAD = 2  # batches that each decoding process has ready
_SPARE = 5  # batches: the one in use, and what must stay free

_GIVE = "docker --shm-size=16g, an emptyDir with medium Memory (Kubernetes), or mount -o remount,size=16G"


def needed(workers: int) -> int:
    """Bytes of shared memory that a training with ``workers`` decoding processes uses."""
    return (_AHEAD * workers + _SPARE) * BATCH


def check_shared_memory(gpus: int, folder: Path = Path(SHARED), workers: int | None = None) -> Outcome:
    """The check ``shared-memory``.

    Args:
        gpus: number of GPUs. NCCL needs shared memory to connect several; clips can travel without it.
        folder: where it is.
        workers: decoding processes. None: the default of a training.
    """
    workers = default_workers() if workers is None else workers
    bad = failed if gpus > 1 else warning
    if not folder.is_dir():
        return bad(f"there is no {folder}", f"mount a tmpfs there: {_GIVE}")
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            os.posix_fallocate(file.fileno(), 0, 2**20)
    except OSError as error:
        return bad(
            f"{folder} cannot be written: {error.strerror}", f"make room, or mount it writable: {_GIVE}"
        )
    status = os.statvfs(folder)
    free, size = status.f_bavail * status.f_frsize, status.f_blocks * status.f_frsize
    text = f"{free / 1e9:.2f} of {size / 1e9:.2f} GB free"
    if free < needed(workers):
        return warning(
            f"{text}; recipes for Kinetics-400 use up to {needed(workers) / 1e9:.1f} GB with "
            f"--workers {workers}",
            f"clips would be copied through pipes, slower: {_GIVE}",
        )
    return ok(f"{text}, up to {needed(workers) / 1e9:.1f} GB are used")
