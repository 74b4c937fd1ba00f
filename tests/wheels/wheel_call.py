"""`make wheel` as its user calls it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Made:
    """What a call of `.ci/wheel` left.

    Attributes:
        into: folder of the results.
        work: folder that it worked in.
        said: what it printed.
    """

    into: Path
    work: Path
    said: str

    @property
    def sdist(self) -> Path:
        (path,) = self.into.glob("*.tar.gz")
        return path

    @property
    def wheel(self) -> Path:
        (path,) = (self.into / "cpu").glob("*.whl")
        return path


def make(
    kinds: Sequence[str], folder: Path, env: Mapping[str, str] | None = None, umask: int = 0o022
) -> Made:
    """Call `.ci/wheel` on this checkout, changes included."""
    made = Made(folder / "dist", folder / "work", "")
    command = [sys.executable, str(ROOT / ".ci/wheel"), *kinds, "--dirty"]
    command += ["--into", str(made.into), "--work", str(made.work)]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, **(env or {})}, umask=umask
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return Made(made.into, made.work, done.stdout)
