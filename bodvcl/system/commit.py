"""The commit that the running code is of."""

from __future__ import annotations

import functools
import json
import subprocess
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent.parent
_DESCRIBE = ("describe", "--always", "--dirty", "--abbrev=12", "--exclude", "*")
"""Twelve digits, never a tag. setup.py, .ci/wheel/tree.py and bench/gpu/results.py ask git the same."""


@functools.cache
def code_commit() -> str:
    """First twelve digits of the commit of this code, with ``-dirty`` where files differ from it.

    Of an installed wheel it is the commit that it was built from. Empty: not known.
    """
    if (_PACKAGE.parent / ".git").exists():
        command = ["git", "-C", str(_PACKAGE), *_DESCRIBE]
        try:
            found = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
            return found.stdout.strip()
        except (OSError, subprocess.SubprocessError):
            return ""
    try:
        built: dict[str, str | None] = json.loads((_PACKAGE / "build.json").read_text(encoding="utf-8"))
        return built.get("commit") or ""
    except (OSError, ValueError, AttributeError):
        return ""
