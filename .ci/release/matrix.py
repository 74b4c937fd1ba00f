"""Which environments are checked: every supported minor release of Python and of PyTorch, at least once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from bodvcl._supported import PACKAGES, PYTHON, Release


class Row(NamedTuple):
    """One environment.

    Attributes:
        python: minor release of Python, such as "3.10".
        torch: minor release of PyTorch, such as "2.11".
        source: "wheel" or "sdist": what is installed.
    """

    python: str
    torch: str
    source: str = "wheel"

    @property
    def name(self) -> str:
        """As `--only` takes it."""
        return f"py{self.python}-torch{self.torch}-{self.source}"


def minors(first: Release, end: Release) -> list[str]:
    """Every minor release of a range within one major release, the end left out."""
    return [f"{first[0]}.{minor}" for minor in range(first[1], end[1])]


def rows() -> list[Row]:
    """Oldest with oldest, newest with newest, and what is between in order; the sdist beside the newest."""
    pythons, torches = minors(*PYTHON), minors(*PACKAGES["torch"])
    count = max(len(pythons), len(torches))
    pairs = [(pythons[i * len(pythons) // count], torches[i * len(torches) // count]) for i in range(count)]
    return [*(Row(*pair) for pair in pairs), Row(*pairs[-1], source="sdist")]


def described_row() -> Row:
    """The environment whose releases the SBOM lists: the newest, from the wheel."""
    return next(row for row in reversed(rows()) if row.source == "wheel")


def wheels_for(machine: str, wheels: Sequence[Path]) -> list[Path]:
    """The wheels that a processor runs.

    Args:
        machine: as `platform.machine` names it.
        wheels: files whose names end in their platform.
    """
    return [wheel for wheel in wheels if wheel.stem.endswith((f"_{machine}", "-any"))]
