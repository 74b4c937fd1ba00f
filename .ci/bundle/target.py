"""The machine that a bundle is for: a Python and a platform, as pip and uv name them."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .errors import BundleError

_LEGACY = {"manylinux1": (2, 5), "manylinux2010": (2, 12), "manylinux2014": (2, 17)}
_OLDEST = {"x86_64": 5, "aarch64": 17}
"""Architecture to the lowest minor version of glibc 2 that wheels name for it."""
_UV = (17, 28, *range(31, 41))
"""Minor versions of glibc 2 that uv has a platform for (`uv pip compile --help`)."""


@dataclass(frozen=True)
class Target:
    """A release of CPython (``3.12``) on Linux: an architecture and the glibc that it has at least."""

    python: str
    architecture: str
    glibc: tuple[int, int]

    @property
    def platform(self) -> str:
        return f"manylinux_{self.glibc[0]}_{self.glibc[1]}_{self.architecture}"

    @property
    def uv_platform(self) -> str:
        """The newest platform of uv whose wheels all load there."""
        known = max(minor for minor in _UV if minor <= self.glibc[1])
        return f"{self.architecture}-manylinux_{self.glibc[0]}_{known}"

    @property
    def platforms(self) -> list[str]:
        """The platform tags of all wheels that load there, best first."""
        tags = []
        for minor in range(self.glibc[1], _OLDEST[self.architecture] - 1, -1):
            tags.append(f"manylinux_2_{minor}_{self.architecture}")
            tags += [
                f"{name}_{self.architecture}" for name, version in _LEGACY.items() if version[1] == minor
            ]
        return [*tags, f"linux_{self.architecture}"]

    def __str__(self) -> str:
        return f"Python {self.python} on {self.platform}"


def target(python: str, platform: str) -> Target:
    """The target that the two options name.

    Raises:
        BundleError: The names are not those of a CPython 3 and of a manylinux platform.
    """
    if not re.fullmatch(r"3\.\d+", python):
        raise BundleError(f"PYTHON_VERSION={python}: expected a release such as 3.12")
    found = re.fullmatch(r"manylinux_2_(\d+)_(x86_64|aarch64)", platform)
    if not found or int(found[1]) < 17:
        raise BundleError(f"PLATFORM={platform}: expected manylinux_2_N_x86_64 or _aarch64 with N from 17 on")
    return Target(python, found[2], (2, int(found[1])))
