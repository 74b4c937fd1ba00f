"""When checkpoints are saved, and which of them are kept."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from bodvcl.config.schema import RunLog
from bodvcl.engine.checkpoint.file import LAST


def save_is_due(step: int, log: RunLog, steps_per_epoch: int) -> bool:
    """Whether a checkpoint is written after this many steps.

    Args:
        step: steps that are done.
        log: how often to save and what to keep.
        steps_per_epoch: steps of an epoch.
    """
    if step % log.save_every == 0:
        return True
    return log.keep_every is not None and step % (log.keep_every * steps_per_epoch) == 0


def keep_checkpoint(run_dir: Path, step: int, log: RunLog, steps_per_epoch: int) -> None:
    """Give the checkpoint ``last.pt`` further names, so that later checkpoints do not replace it.

    The newest ``log.keep_last`` checkpoints are ``step-<n>.pt`` (if ``log.keep_last`` is more than 1). Every
    ``log.keep_every`` epochs, a checkpoint is kept permanently as ``epoch-<n>.pt``. To go back to one of
    them, copy it over ``last.pt``.

    Args:
        run_dir: folder of the run.
        step: steps that are done.
        log: what to keep.
        steps_per_epoch: steps of an epoch.
    """
    last = run_dir / LAST
    epoch, rest = divmod(step, steps_per_epoch)
    if log.keep_every is not None and rest == 0 and epoch and epoch % log.keep_every == 0:
        _link(last, last.with_name(f"epoch-{epoch:04d}.pt"))
    if log.keep_last > 1:
        _link(last, last.with_name(f"step-{step:08d}.pt"))
        for old in sorted(last.parent.glob("step-*.pt"))[: -log.keep_last]:
            old.unlink()


def _link(existing: Path, name: Path) -> None:
    name.unlink(missing_ok=True)
    try:
        os.link(existing, name)
    except OSError:  # a file system without hard links
        shutil.copyfile(existing, name)
