"""Which of the ranks of a job this process is, found out without PyTorch."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Mapping
from typing import TYPE_CHECKING

from bodvcl.doctor.outcome import Outcome, skipped, warning
from bodvcl.errors import ConfigError

if TYPE_CHECKING:
    from bodvcl.engine.ranks import World


def slurm_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables of ``torchrun``, from those of a step of Slurm (``srun``) with several tasks.

    Empty where the caller has set them already, where there is no such step, and where MASTER_ADDR and
    MASTER_PORT do not say how the tasks meet: then each task is checked alone.

    Raises:
        ConfigError: a variable of Slurm is not a number.
    """
    tasks = _tasks(environment)
    if "RANK" in environment or tasks == 1 or not {"MASTER_ADDR", "MASTER_PORT"} <= environment.keys():
        return {}
    each = of_each_node(environment.get("SLURM_STEP_TASKS_PER_NODE", ""))
    node = slurm_number(environment, "SLURM_NODEID", 0)
    return {
        "RANK": environment.get("SLURM_PROCID", ""),
        "WORLD_SIZE": str(tasks),
        "LOCAL_RANK": environment.get("SLURM_LOCALID", ""),
        "LOCAL_WORLD_SIZE": str(each[node]) if node < len(each) else "1",
    }


def of_each_node(text: str) -> list[int]:
    """Tasks or cores of each node, as Slurm writes them: [8, 8, 4] for "8(x2),4"."""
    found = re.findall(r"(\d+)(?:\(x(\d+)\))?", text)
    return [int(tasks) for tasks, nodes in found for _ in range(int(nodes or 1))]


def _tasks(environment: Mapping[str, str]) -> int:
    return slurm_number(environment, "SLURM_STEP_NUM_TASKS", 1)


def slurm_number(environment: Mapping[str, str], name: str, default: int) -> int:
    """A variable of Slurm that is a number; ``default`` where it is not set.

    Raises:
        ConfigError: it is not a number.
    """
    text = environment.get(name, str(default))
    if not text.isdecimal():
        raise ConfigError(f"{name}={text}: expected a number, as Slurm sets it")
    return int(text)


def alone(environment: Mapping[str, str]) -> Outcome:
    """The check ``ranks`` of a process that has no others to compare with."""
    tasks = _tasks(environment)
    if tasks > 1:
        return warning(
            f"the {tasks} tasks of this step of Slurm are not compared: nothing says where they meet",
            "export MASTER_ADDR and MASTER_PORT before srun (docs/slurm.sbatch)",
        )
    return skipped("one process, started alone")


def this_host() -> str:
    """The name of this machine, as Slurm calls it where it has started this process."""
    return os.environ.get("SLURMD_NODENAME") or socket.gethostname()


def several_ranks() -> World | None:
    """The place of this process among several; None: it is alone.

    Raises:
        ConfigError: the environment variables contradict each other.
        ImportError, OSError: PyTorch cannot be imported.
    """
    os.environ.update(slurm_variables(os.environ))
    if not {"RANK", "WORLD_SIZE", "LOCAL_RANK"} & os.environ.keys():
        return None
    from bodvcl.engine.ranks import world_from_environment

    world = world_from_environment()
    return world if world.size > 1 else None
