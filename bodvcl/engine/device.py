"""The device of a run, from the options and what the machine has."""

from __future__ import annotations

import torch

from bodvcl.engine.ranks import World
from bodvcl.errors import ConfigError


def pick_device(name: str, world: World | None = None) -> torch.device:
    """The device of this process. "auto" is a CUDA device if there is one, else the CPU.

    Args:
        name: "auto", "cpu", "cuda" or "cuda:N".
        world: place of this process; with several processes, each takes the device of its local rank. None:
            one process.

    Raises:
        ConfigError: PyTorch does not know the device, this machine does not have it, or one device was given
            for several processes.
    """
    world = world or World()
    several = world.size > 1
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"--device {name}: expected auto, cpu, cuda or cuda:N") from error
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(f"--device {name}: expected auto, cpu, cuda or cuda:N")
    if device.type == "cpu":
        return device
    count = torch.cuda.device_count()
    if several:
        if ":" in name:
            raise ConfigError(f"--device {name}: with several processes each has its own; use --device auto")
        device = torch.device("cuda", world.local_rank)
        if world.local_rank >= count:
            raise ConfigError(
                f"process {world.local_rank} of this machine has no GPU, PyTorch sees {count}: "
                f"start at most {count} (torchrun --nproc-per-node {max(count, 1)}), or use --device cpu"
            )
    elif (device.index or 0) >= count:
        raise ConfigError(f"--device {name}: PyTorch sees {count} CUDA devices here; use --device auto")
    return device
