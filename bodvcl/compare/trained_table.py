"""Train what is missing of an experiment, then report it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from bodvcl.compare.plan import Task
from bodvcl.compare.report import report
from bodvcl.compare.summary import Line
from bodvcl.compare.training import RunFailed, train_missing
from bodvcl.runs.folder import create_folder
from bodvcl.sweep.job import is_finished


def trained_table(
    tasks: Sequence[Task], out: Path, name: str, workers: int | None, minutes: float | None
) -> list[Line]:
    """Run the trainings that are not finished, and report all; if one fails, report the others first.

    Args:
        tasks: all trainings.
        out: folder of the results, made if it is not there.
        name: name of the results, without ending.
        workers: trainings at a time. None: one per GPU, or one per core without a GPU.
        minutes: time limit. None: no limit.

    Returns:
        What the table shows.

    Raises:
        RunFailed: a training ended with an error.
        ConfigError: options that cannot be used, a folder that cannot be written, nothing finished in time.
        DataError: nothing could be probed.
    """
    until = None if minutes is None else time.monotonic() + 60 * minutes
    create_folder(out, "--out")
    try:
        train_missing(tasks, workers, until)
    except RunFailed:
        if any(is_finished(task) for task in tasks):
            report(tasks, out, name, minutes)
        raise
    return report(tasks, out, name, minutes)
