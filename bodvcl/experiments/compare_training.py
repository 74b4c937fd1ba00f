"""Run the trainings of the comparison, each in a process of its own."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed

from bodvcl.config.parse import parse_config
from bodvcl.data.sets import BuiltInSettings, open_dataset
from bodvcl.errors import ConfigError, UserError
from bodvcl.experiments.compare_plan import Task, is_finished
from bodvcl.runs.folder import write_atomically
from bodvcl.text.progress import progress_bar

_SECONDS_TO_SAVE = 20
"""Seconds that a training gets to save its state when it is stopped."""


class RunFailed(UserError):
    """A training of the comparison ended with an error."""


def train_missing(tasks: Sequence[Task], workers: int, until: float | None = None) -> None:
    """Run the trainings that are not finished, several at a time.

    Args:
        tasks: all trainings of the comparison, in the order in which they start.
        workers: trainings at a time.
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
    for task in needed.values():  # once, not by every run that needs it
        config = parse_config(task.arguments)
        if not config.log.probe:
            raise ConfigError("the comparison is that of the probes after training: remove --log.no-probe")
        open_dataset(config.data, BuiltInSettings.of(config), workers=config.workers)
    with (
        ThreadPoolExecutor(min(workers, len(missing))) as pool,
        progress_bar(total=len(missing), desc="comparison", unit="run") as bar,
    ):
        futures = [pool.submit(_train, task, until) for task in missing]
        try:
            for future in as_completed(futures):
                bar.update(future.result())
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _train(task: Task, until: float | None) -> bool:
    """Run one training; whether it finished before ``until``."""
    if until is not None and time.monotonic() >= until:
        return False
    task.folder.mkdir(parents=True, exist_ok=True)
    write_atomically(task.folder / "arguments.json", json.dumps(task.arguments).encode())
    command = [sys.executable, "-m", task.module, *task.arguments, "--resume", "--log.no-report"]
    command += ["--run-dir", str(task.folder / "run")]
    with open(task.folder / "log.txt", "a", encoding="utf-8") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, env={"OMP_NUM_THREADS": "1", **os.environ}
        )
        try:
            code = process.wait(None if until is None else max(until - time.monotonic(), 0))
        except subprocess.TimeoutExpired:
            _stop(process)
            return False
    if code:
        last = (task.folder / "log.txt").read_text(encoding="utf-8").strip().splitlines()[-1:]
        raise RunFailed(f"{shlex.join(command)} ended with exit code {code}: {''.join(last)}")
    return True


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_SECONDS_TO_SAVE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
