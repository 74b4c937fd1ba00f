"""Run what is missing of a sweep on this machine."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence

from bodvcl.config.parse import parse_config
from bodvcl.data.workers.process import available_cores
from bodvcl.sweep.axes import named
from bodvcl.sweep.job import is_finished
from bodvcl.sweep.plan import Plan
from bodvcl.sweep.prepare import prepare_data
from bodvcl.sweep.processes import run_chains
from bodvcl.sweep.verbs import TRAIN
from bodvcl.text.progress import progress_bar


def run_missing(plan: Plan, workers: int | None = None) -> list[str]:
    """Run the chains that have not finished; a chain that fails does not stop the others.

    Args:
        plan: the sweep.
        workers: runs at a time. None: one per GPU, or one per core without a GPU.

    Returns:
        A line for each run that failed: its name, what went wrong, and its log.

    Raises:
        ConfigError: a folder holds a run that was made with other options.
        DataError: the videos of the trainings cannot be read.
    """
    missing = [chain for chain in plan.chains if not all(map(is_finished, chain))]
    if not missing:
        return []
    trainings = [job for chain in missing for job in chain if job.arguments[0] == TRAIN]
    prepare_data(parse_config(job.arguments[1:]) for job in trainings if not is_finished(job))
    failures = []
    with (
        contextlib.closing(run_chains(missing, slots(workers))) as outcomes,
        progress_bar(total=len(missing), desc="sweep", unit="run") as bar,
    ):
        for outcome in outcomes:
            job = outcome.job
            name = " ".join(filter(None, (named(job.cell), job.step)))
            log = job.folder / "log.txt"
            if outcome.error:
                failures.append(f"{name}, seed {job.seed}: {outcome.error} (log: {log})")
            elif not is_finished(job):
                failures.append(f"{name}, seed {job.seed}: it ended without {job.result} (log: {log})")
            bar.update()
    return failures


def slots(workers: int | None, gpus: Sequence[str] | None = None) -> list[Mapping[str, str]]:
    """Environment variables of the processes of each run that goes on at a time.

    Args:
        workers: runs at a time. None: one per GPU, or one per core without a GPU.
        gpus: GPUs as CUDA_VISIBLE_DEVICES names them. None: those that this process sees.
    """
    found = visible_gpus() if gpus is None else gpus
    if not found:
        return [{}] * (workers or available_cores())
    return [{"CUDA_VISIBLE_DEVICES": found[n % len(found)]} for n in range(workers or len(found))]


def visible_gpus() -> list[str]:
    """The GPUs that this process sees, as CUDA_VISIBLE_DEVICES names them."""
    import torch

    count = torch.cuda.device_count()
    named = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    return named[:count] if named else [str(number) for number in range(count)]
