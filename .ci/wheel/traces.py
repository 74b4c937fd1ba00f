"""Folders of this machine: a wheel that names one of them would have other bytes elsewhere."""

from __future__ import annotations

import os
from pathlib import Path


def folders_here(*folders: Path) -> list[str]:
    """The given folders and the user's home, without ``/`` and a home that is unknown: they say nothing."""
    found = [*map(str, folders), os.path.expanduser("~")]  # stays "~" without HOME and an entry of the user
    return [folder for folder in found if os.path.isabs(folder) and folder != "/"]
