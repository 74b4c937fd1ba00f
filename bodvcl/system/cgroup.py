"""Limits of the control group that this process is in: of a container, or of a job."""

from __future__ import annotations

from pathlib import Path

_PLACES = {
    "memory.max": ("memory", "memory.limit_in_bytes"),
    "pids.max": ("pids", "pids.max"),
}
"""File of version 2 to controller and file of version 1."""


def smallest_limit(name: str, root: Path = Path("/")) -> int | None:
    """The smallest limit of this group and those that it is in. None: there is none.

    Args:
        name: "memory.max" (bytes) or "pids.max" (processes and threads).
        root: where ``proc`` and ``sys`` are.
    """
    values = [_read(folder / file) for folder, file in _files(name, root)]
    return min((value for value in values if value is not None), default=None)


def processors(root: Path = Path("/")) -> float | None:
    """Processors' worth of time that the group may use. None: no limit.

    Args:
        root: where ``proc`` and ``sys`` are.
    """
    found = []
    for folder, file in _files("cpu.max", root):
        words = _text(folder / file).split()
        if len(words) == 2 and words[0].isdecimal() and words[1].isdecimal() and int(words[1]):
            found.append(int(words[0]) / int(words[1]))
    return min(found, default=None)


def _files(name: str, root: Path) -> list[tuple[Path, str]]:
    """Folders of the own group and of those that it is in, of both versions, with the name of the file."""
    controller, old = _PLACES.get(name, ("", ""))
    top = root / "sys/fs/cgroup"
    found = [
        (top, name),
        *([(top / controller, old)] if controller else []),
    ]  # a container sees itself as the top
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, group = (*line.split(":", 2), "", "")[:3]
        parts = [part for part in group.split("/") if part not in ("", "..")]
        if not controllers:
            base, file = top, name
        elif controller and controller in controllers.split(","):
            base, file = top / controller, old
        else:
            continue
        found += [(base.joinpath(*parts[: depth + 1]), file) for depth in range(len(parts))]
    return found


def _read(path: Path) -> int | None:
    text = _text(path).strip()
    return int(text) if text.isdecimal() else None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
