"""Programs that the build calls: their output goes to a log, and its end is shown where one fails."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

TAIL_LINES = 25


class Failed(Exception):
    """A program failed; the message ends in the last lines of its output."""


def search_path() -> str:
    """Where programs are looked for: beside this Python first."""
    return os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])


def run(arguments: Sequence[str], cwd: Path, log: Path, env: Mapping[str, str] | None = None) -> float:
    """Call this Python with arguments.

    Args:
        arguments: behind the name of the program.
        cwd: working directory.
        log: file for the output, added to what is there.
        env: environment (default: that of this process).

    Returns:
        CPU time of the program and its children, in seconds.

    Raises:
        Failed: the exit code is not 0.
    """
    before = _children()
    found = {**(os.environ if env is None else env), "PATH": search_path()}
    with log.open("ab") as out:
        start = out.tell()
        command = [sys.executable, *arguments]
        code = subprocess.run(command, cwd=cwd, env=found, stdout=out, stderr=subprocess.STDOUT).returncode
    if code:
        tail = log.read_bytes()[start:].decode(errors="replace").splitlines()[-TAIL_LINES:]
        raise Failed("\n".join([f"{' '.join(command)} failed with exit code {code} ({log}):", *tail]))
    return _children() - before


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
