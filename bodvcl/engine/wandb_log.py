"""An optional log on Weights & Biases."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from bodvcl.errors import ConfigError


def check_wandb() -> None:
    """Check before the training that the package is installed.

    Raises:
        ConfigError: the package is not installed.
    """
    if find_spec("wandb") is None:
        raise ConfigError(
            "--log.wandb: Weights & Biases is not installed; pip install wandb, or leave it out"
        )


class WandbLog:
    """Sends the values of ``metrics.jsonl`` to Weights & Biases as well. A resumed run continues its log.

    Args:
        project: name of the project.
        run_dir: folder of the run; its name is the name of the log.
        config: configuration of the run, shown beside the curves.

    Raises:
        ConfigError: Weights & Biases refuses: the user is not logged in, or it cannot be reached.
    """

    def __init__(self, project: str, run_dir: Path, config: Mapping[str, Any]) -> None:
        import wandb

        name = run_dir.resolve().name
        try:
            self._run = wandb.init(
                project=project, name=name, id=name, dir=str(run_dir), config=dict(config), resume="allow"
            )
        except wandb.Error as error:
            raise ConfigError(f"--log.wandb {project}: {' '.join(str(error).split())}") from error

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Log the values of a step by name."""
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        """Finish the upload."""
        self._run.finish()
