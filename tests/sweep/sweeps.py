"""Sweeps for tests: a tiny training, and stand-ins for trainings that take no time."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import yaml

TINY = (
    "--data shapes --device cpu --workers 0 --batch-size 4 --epochs 1 --shapes.train-videos 8 "
    "--shapes.probe-videos 16 --shapes.frames 20 --shapes.size 32 --clip.size 16 --model.width 4 "
    "--model.embed-dim 12 --model.hidden-dim 16"
)
"""Options of a run of two steps."""
_POPEN = subprocess.Popen
STAND_IN = Path(__file__).with_name("stand_in.py")


def write_sweep(folder: Path, **fields: object) -> Path:
    """A sweep file with these fields; by default two values of xi."""
    values = {"title": "A sweep", "run": f"train {TINY}", "vary": {"koopman.xi": [0.1, 0.2]}} | fields
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump(values, sort_keys=False))
    return path


def option(words: Sequence[str], name: str) -> str:
    """The value of an option in a command; the last one counts."""
    return [after for word, after in pairwise(words) if word == name][-1]


class StandIns:
    """In place of ``subprocess.Popen``: starts stand-ins that behave as ``behaviour(words)`` says.

    Attributes:
        started: the commands.
        returned: folder of a run to the process that was started for it.
    """

    def __init__(self, behaviour: Callable[[Sequence[str]], str]) -> None:
        self.behaviour = behaviour
        self.started: list[list[str]] = []
        self.environments: list[dict[str, str]] = []
        self.returned: dict[str, subprocess.Popen[bytes]] = {}  # by run folder: threads start them at once

    def __call__(self, command: list[str], **options: object) -> subprocess.Popen[bytes]:
        self.started.append(command)
        self.environments.append(dict(options["env"]))
        words = [self.behaviour(command), option(command, "--run-dir"), option(command, "--seed")]
        process = _POPEN([sys.executable, "-S", str(STAND_IN), *words], **options)
        self.returned[option(command, "--run-dir")] = process
        return process
