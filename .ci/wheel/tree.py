"""The files of the commit, by themselves: neither ignored files nor modes and leftovers of a checkout."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from stop import Stop


def git(root: Path, *arguments: str) -> str:
    """What git prints.

    Raises:
        Stop: git is missing, or ``root`` is no repository with a commit.
    """
    try:
        done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True)
    except OSError as error:
        raise Stop(f"git is needed, to know which files belong to the project: {error}") from error
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["git failed"]
        raise Stop(f"{root} must be a clone of the repository: {said[-1]}")
    return done.stdout


def commit(root: Path) -> str:
    """First digits of the commit, with ``-dirty`` where files differ from it, or are there beside it."""
    described = git(root, "describe", "--always", "--abbrev=12", "--exclude", "*").strip()
    return described + ("-dirty" if changed(root) else "")


def changed(root: Path) -> list[str]:
    """Files that differ from the commit, new ones included, ignored ones not."""
    return [line[3:] for line in git(root, "status", "--porcelain").splitlines()]


def commit_time(root: Path) -> int:
    """Seconds since 1970 of the commit: the date of every file of a reproducible archive."""
    return int(git(root, "log", "-1", "--format=%ct"))


def copy_tree(root: Path, into: Path) -> None:
    """Copy what git would commit into a folder, which is emptied first. Modes: 644, or 755 if executable."""
    shutil.rmtree(into, ignore_errors=True)
    listed = git(root, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    for name in sorted(set(listed.split("\0")) - {""}):
        source, target = root / name, into / name
        if not source.is_file() and not source.is_symlink():
            continue  # removed, and not yet committed
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target, follow_symlinks=False)
        if not target.is_symlink():
            target.chmod(0o755 if source.stat().st_mode & 0o100 else 0o644)
