"""How a training saves its state: when it is due, and never a state that is not finite."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bodvcl.config.schema import RunLog
from bodvcl.engine.checkpoint import (
    LAST,
    NotFinite,
    Shards,
    keep_checkpoint,
    remove_unused_folders,
    save_checkpoint,
    save_is_due,
    saved_step,
)
from bodvcl.engine.finite import copied
from bodvcl.engine.guard import state_diverged
from bodvcl.engine.ranks import PeerFailed
from bodvcl.text.words import counted

State = dict[str, Any]


class Saver:
    """Saves the state of a run. On ranks other than 0 it does nothing, unless weights are cut over the ranks:
    then all save together.

    Args:
        run_dir: folder of the run.
        state: returns the present state (:func:`~bodvcl.engine.checkpoint.checkpoint_state`).
        log: how often to save, and which checkpoints to keep.
        steps_per_epoch: steps of an epoch.
        total: steps of the whole run.
        writes: whether this is rank 0.
        shards: how weights are cut over the ranks; None: they are not.
    """

    def __init__(
        self,
        run_dir: Path,
        state: Callable[[], State],
        log: RunLog,
        steps_per_epoch: int,
        total: int,
        *,
        writes: bool,
        shards: Shards | None = None,
    ) -> None:
        self._run_dir, self._state, self._log = run_dir, state, log
        self._steps_per_epoch, self._total, self._writes = steps_per_epoch, total, writes
        self._shards, self._takes_part = shards, writes or shards is not None
        self._before: State | None = None

    def is_due(self, step: int) -> bool:
        """Whether the state is saved after this many steps. The end of the run is not counted."""
        return save_is_due(step, self._log, self._steps_per_epoch) and step < self._total

    def before_step(self, step: int) -> None:
        """Copy the state if it is saved after step number ``step``, in case that it is not finite then."""
        follows = step == self._total or self.is_due(step)
        self._before = copied(self._state()) if follows and self._takes_part else None

    def save(self) -> None:
        """Write the checkpoint.

        Raises:
            NotFinite: the state contains NaN or infinities; the previous checkpoint is untouched.
            CheckpointError: it cannot be written; the previous checkpoint is untouched.
        """
        if self._takes_part:
            self._write(self._state())

    def save_and_keep(self, step: int, lr: float) -> None:
        """Write the checkpoint and keep it as long as the options say.

        Args:
            step: steps that are done.
            lr: learning rate of the last step, for the error message.

        Raises:
            Diverged: the state is not finite. The state before the last step is saved, if there is a copy.
            CheckpointError: it cannot be written; the previous checkpoint is untouched.
            PeerFailed: one of these, on the ranks that do not report it.
        """
        try:
            self.save()
        except NotFinite as found:
            diverged = state_diverged(step, found.names, lr, self._save_if_finite(self._before))
            raise (diverged if self._writes else PeerFailed) from found
        if self._writes:
            keep_checkpoint(self._run_dir, step, self._log, self._steps_per_epoch)
            remove_unused_folders(self._run_dir)

    def rescue(self) -> str:
        """Save the present state if it is finite. Returns what the checkpoint then holds, in words."""
        return self._save_if_finite(self._state()) if self._takes_part else ""

    def _write(self, state: State) -> None:
        if self._shards is None:
            save_checkpoint(self._run_dir, state)
        else:
            self._shards.save(self._run_dir, state)

    def _save_if_finite(self, state: State | None) -> str:
        if state is not None:
            with contextlib.suppress(NotFinite):
                self._write(state)
        return self.kept()

    def kept(self) -> str:
        """What the checkpoint holds, in words."""
        step = saved_step(self._run_dir)
        if step is None:
            return "no checkpoint has been written"
        return f"{self._run_dir / LAST} holds the state after {counted(step, 'step')}"
