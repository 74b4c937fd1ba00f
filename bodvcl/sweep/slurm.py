"""A sweep as a Slurm array: one task per run."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path

from bodvcl.errors import ConfigError, UserError

DEFAULTS = {
    "nodes": "1",
    "ntasks-per-node": "1",
    "gpus-per-node": "1",
    "cpus-per-task": "12",
    "time": "24:00:00",
    "signal": "USR1@300",
    "requeue": "",
    "open-mode": "append",
}
"""Options of sbatch that --sbatch can change. The last three make a run go on after its time limit."""

_BODY = """
set -euo pipefail

cd {folder}

# Slurm requeues a preempted job only if it runs on to the end of its grace time; a run that has saved ends.
requeue() {{
    local ended=$? job=${{SLURM_ARRAY_JOB_ID}}_$SLURM_ARRAY_TASK_ID state
    ((ended)) || return 0
    state=$(scontrol show job "$job")
    if [[ $state == *JobState=RUNNING*PreemptTime=[0-9]* ]]; then
        echo "preempted: job $job is requeued"
        scontrol requeue "$job"
    fi
}}
trap requeue EXIT

# Of a requeued job with another number of tasks, SLURM_NTASKS is the old one; these are right.
TASKS=${{SLURM_TASKS_PER_NODE%%[(,]*}}
NODES=$SLURM_JOB_NUM_NODES
export SRUN_CPUS_PER_TASK=${{SLURM_CPUS_PER_TASK:-1}} # which srun no longer takes from the job

export MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
export MASTER_PORT=$((20000 + SLURM_JOB_ID % 20000))
export LOCAL_WORLD_SIZE=$TASKS
export OMP_NUM_THREADS=1

# Every process becomes one of a run's; exec makes it the task itself, so that signals reach it.
srun --ntasks=$((NODES * TASKS)) --ntasks-per-node="$TASKS" bash -c '
    export RANK=$SLURM_PROCID WORLD_SIZE=$SLURM_NTASKS LOCAL_RANK=$SLURM_LOCALID
    exec "$@"
' task {command} --task "$SLURM_ARRAY_TASK_ID"{extra}
"""


def batch_script(
    command: Sequence[str], extra: Sequence[str], tasks: int, out: Path, folder: Path, asked: Sequence[str]
) -> str:
    """The script of an array in which each task runs one chain of a sweep.

    Args:
        command: the sweep, without ``--task``.
        extra: options of every run, after `` -- ``.
        tasks: number of runs.
        out: folder of the output files.
        folder: working directory.
        asked: options of sbatch without their dashes: ``time=48:00:00``, ``partition=gpu``.

    Raises:
        ConfigError: an option that the sweep sets itself, or that has dashes.
    """
    options = dict(DEFAULTS)
    for text in asked:
        name, _, value = text.partition("=")
        if name.startswith("-") or not name:
            raise ConfigError(f"--sbatch {text!r}: give the option without its dashes, such as time=48:00:00")
        if name in ("array", "output"):
            raise ConfigError(f"--sbatch {text!r}: the sweep sets {name} itself")
        options[name] = value
    lines = ["#!/usr/bin/env bash", f"#SBATCH --job-name={out.name}", f"#SBATCH --array=0-{tasks - 1}"]
    lines += [f"#SBATCH --output={out.absolute() / 'slurm-%A_%a.txt'}"]
    lines += [f"#SBATCH --{name}{f'={value}' if value else ''}" for name, value in options.items()]
    body = _BODY.format(
        folder=shlex.quote(str(folder)),
        command=shlex.join(command),
        extra=f" {shlex.join(['--', *extra])}" if extra else "",
    )
    return "\n".join(lines) + body


def submit(script: Path) -> str:
    """Submit a script; returns what sbatch says.

    Raises:
        UserError: sbatch is not there, or refuses the script.
    """
    try:
        done = subprocess.run(["sbatch", str(script)], capture_output=True, text=True, check=False)
    except OSError as error:
        raise UserError(
            f"cannot call sbatch ({error.strerror or error}): submit {script} on the cluster"
        ) from error
    if done.returncode:
        raise UserError(f"sbatch refuses {script}: {' '.join(done.stderr.split())}")
    return done.stdout.strip()
