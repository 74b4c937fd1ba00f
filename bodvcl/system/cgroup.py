"""Limits of the control group that this process is in: of a container, or of a job."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

_OLD = {"memory.max": "memory.limit_in_bytes", "memory.current": "memory.usage_in_bytes"}
"""File of version 2 to file of version 1, where they differ."""


def smallest_limit(name: str, root: Path = Path("/")) -> int | None:
    """The smallest limit of this group and those that it is in. None: there is none.

    Args:
        name: "memory.max" (bytes) or "pids.max" (processes and threads).
        root: where ``proc`` and ``sys`` are.
    """
    values = [_read(group / _name(name, old)) for group, old in _groups(name.split(".")[0], root)]
    return min((value for value in values if value is not None), default=None)


def free_memory(root: Path = Path("/")) -> int | None:
    """Bytes that this group may still take, as the smallest limit around it allows. None: there is none.

    File contents that were not used lately count as free: the system drops them when memory is needed.

    Args:
        root: where ``proc`` and ``sys`` are.
    """
    found = []
    for group, old in _groups("memory", root):
        limit, used = (_read(group / _name(name, old)) for name in ("memory.max", "memory.current"))
        if limit is not None:
            word = "total_inactive_file" if old else "inactive_file"
            files = re.search(rf"^{word} (\d+)$", _text(group / "memory.stat"), re.MULTILINE)
            found.append(max(0, limit - (used or 0) + (int(files[1]) if files else 0)))
    return min(found, default=None)


def processors(root: Path = Path("/")) -> float | None:
    """Processors' worth of time that the group may use. None: no limit.

    Args:
        root: where ``proc`` and ``sys`` are.
    """
    found = []
    for group, old in _groups("cpu", root):
        files = ("cpu.cfs_quota_us", "cpu.cfs_period_us") if old else ("cpu.max",)
        words = [word for file in files for word in _text(group / file).split()]
        if len(words) == 2 and words[0].isdecimal() and words[1].isdecimal() and int(words[1]):
            found.append(int(words[0]) / int(words[1]))
    return min(found, default=None)


def _groups(controller: str, root: Path) -> Iterator[tuple[Path, bool]]:
    """Folders of the own group and of those that it is in, of both versions, and whether it is version 1."""
    top = root / "sys/fs/cgroup"
    try:
        of_controller = [top / name for name in os.listdir(top) if controller in name.split(",")]
    except OSError:  # no such folder, or no more files can be opened
        of_controller = []
    yield top, False  # a container sees itself as the top
    yield from ((folder, True) for folder in of_controller)
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, group = (*line.split(":", 2), "", "")[:3]
        parts = [part for part in group.split("/") if part not in ("", "..")]
        if controllers and controller not in controllers.split(","):
            continue
        for folder in of_controller if controllers else [top]:
            for depth in range(len(parts)):
                yield folder.joinpath(*parts[: depth + 1]), bool(controllers)


def _name(name: str, old: bool) -> str:
    return _OLD.get(name, name) if old else name


def _read(path: Path) -> int | None:
    text = _text(path).strip()
    return int(text) if text.isdecimal() else None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
