"""Run the trainings of the comparison, each in a process of its own."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from bodvcl.compare.plan import Task
from bodvcl.config.parse import parse_config
from bodvcl.errors import ConfigError, UserError
from bodvcl.sweep.job import is_finished
from bodvcl.sweep.local import slots
from bodvcl.sweep.prepare import prepare_data
from bodvcl.sweep.processes import run_chains
from bodvcl.text.progress import progress_bar


class RunFailed(UserError):
    """A training of the comparison ended with an error."""


def train_missing(tasks: Sequence[Task], workers: int | None, until: float | None = None) -> None:
    """Run the trainings that are not finished, several at a time.

    Args:
        tasks: all trainings of the comparison, in the order in which they start.
        workers: trainings at a time. None: one per GPU, or one per core without a GPU.
        until: time limit on the clock of ``time.monotonic``: then running trainings are stopped and no other
            one starts. None: no limit.

    Raises:
        RunFailed: names the first run that failed, its command and its last line.
        ConfigError: a folder holds a run that was made with other options, or the options of the trainings
            cannot be used.
    """
    missing = [task for task in tasks if not is_finished(task)]
    if not missing:
        return
    needed = {(task.cell.data, task.cell.variant): task for task in missing}
    configs = [parse_config(task.arguments) for task in needed.values()]
    if not all(config.log.probe for config in configs):
        raise ConfigError("the comparison is that of the probes after training: remove --log.no-probe")
    prepare_data(configs)
    chains = [(task,) for task in missing]
    with (
        contextlib.closing(run_chains(chains, slots(workers), until)) as outcomes,
        progress_bar(total=len(missing), desc="comparison", unit="run") as bar,
    ):
        for outcome in outcomes:
            if outcome.error:
                raise RunFailed(outcome.error)
            bar.update(outcome.finished)
