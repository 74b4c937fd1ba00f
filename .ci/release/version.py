"""The version in its one place, and everything that repeats it."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path


def version_problems(root: Path, version: str, tags: list[str]) -> list[str]:
    """What contradicts ``version``, one line each.

    Args:
        root: top folder of the sources.
        version: that of the package.
        tags: git tags of the commit.
    """
    found = []
    cited = re.search(
        r"^version: *[\"']?([^\"'\s]+)", (root / "CITATION.cff").read_text(encoding="utf-8"), re.M
    )
    if cited is None or cited[1] != version:
        found.append(f"CITATION.cff has version {cited and cited[1]}, the package {version}")
    sections = re.findall(r"^## (\S+) \((.+)\)$", (root / "CHANGELOG.md").read_text(encoding="utf-8"), re.M)
    dated = dict(sections).get(version)
    if dated is None:
        found.append(f"CHANGELOG.md has no section '## {version} (DATE or unreleased)'")
    elif not re.fullmatch(r"unreleased|\d{4}-\d{2}-\d{2}", dated):
        found.append(f"CHANGELOG.md: {version} has {dated!r}, expected YYYY-MM-DD or unreleased")
    versions = [tag for tag in tags if re.match(r"v\d", tag)]
    if versions and f"v{version}" not in versions:
        found.append(f"the commit is tagged {', '.join(versions)}, expected v{version}")
    if versions and dated == "unreleased":
        found.append(f"the commit is tagged {', '.join(versions)}, but CHANGELOG.md says unreleased")
    return found


def tags_here(root: Path) -> list[str]:
    """Git tags of the commit; none outside of a repository."""
    command = ["git", "-C", str(root), "tag", "--points-at", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True).stdout.split()
