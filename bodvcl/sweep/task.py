"""Run one chain of a sweep in this process: the task of a Slurm array."""

from __future__ import annotations

import importlib
import os

from bodvcl.errors import ConfigError
from bodvcl.sweep.job import is_finished
from bodvcl.sweep.plan import Chain, Plan


def pick_chain(plan: Plan, number: int) -> Chain:
    """The chain of a task.

    Args:
        plan: the sweep.
        number: number of the task, from 0.

    Raises:
        ConfigError: there is no such task.
    """
    if number >= len(plan.chains):
        count = len(plan.chains)
        raise ConfigError(f"--task {number}: the sweep has {count} runs, 0 to {count - 1}")
    return plan.chains[number]


def run_here(chain: Chain) -> int:
    """Run what has not finished of a chain, one job after the other. The verbs handle their signals.

    Under a launcher of several processes (``RANK`` is set) all of them call this. Verbs that run in one
    process run in the first.

    Returns:
        0, or the exit code of the first job that did not end with 0.
    """
    first = os.environ.get("RANK", "0") == "0"
    bodvcl = importlib.import_module("bodvcl.cli.main")  # the rooms above are not imported from here
    pending = [job for job in chain if not is_finished(job)]
    for job in pending:
        if not (first or job.ranks):
            continue
        if first:
            job.begin()
        code = int(bodvcl.main(job.words))
        if code:
            return code
    return 0
