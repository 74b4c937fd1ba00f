"""Which releases bodvcl is tested with, and what happens at import beside others.

A PyTorch or Triton outside of the ranges gives a warning, and the kernels that are compiled for them are not
used. Other releases are refused.

`pip install .` already keeps to these ranges (`pyproject.toml` has the same, a test compares them). The
check is for environments that pip did not resolve: a forced install, a module system, an image.
"""

from __future__ import annotations

import os
import re
import sys
import warnings
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import NoReturn

Release = tuple[int, ...]

PYTHON: tuple[Release, Release] = ((3, 10), (3, 14))
PACKAGES: dict[str, tuple[Release, Release]] = {
    "torch": ((2, 11), (2, 16)),
    "triton": ((3, 6), (3, 10)),
    "numpy": ((1, 26), (3,)),
    "av": ((17,), (20,)),
}
"""Package to its first supported release and the first that is not."""

COMPILED_FOR = ("torch", "triton")
"""Packages that the kernels are compiled for or with. Outside of their ranges the PyTorch path serves."""

OVERRIDE = "BODVCL_ANY_VERSION"


def unsupported(python: Release, installed: Mapping[str, str | None]) -> list[str]:
    """What of ``installed`` (package to version; None: not installed) is outside of the ranges, in words.

    A package that is missing is not refused here: what needs it says so.
    """
    found = [_words("Python", python, *PYTHON)] if not PYTHON[0] <= python < PYTHON[1] else []
    for name, (first, end) in PACKAGES.items():
        release = _release(installed.get(name))
        if release is not None and not first <= release < end:
            found.append(_words(name, installed[name], first, end))
    return found


def held_back(name: str) -> str:
    """Why the kernels that are compiled for the package ``name`` are not used; "" where they are."""
    found = unsupported(PYTHON[0], {name: _installed(name)})
    if not found or os.environ.get(OVERRIDE) == "1":
        return ""
    return f"{found[0]} ({OVERRIDE}=1 tries it)"


def check_releases() -> None:
    """Warn of a PyTorch or Triton that bodvcl is not tested with; refuse other releases.

    The warning is one line, and comes once: worker processes and ranks other than 0 are silent.
    `BODVCL_ANY_VERSION=1` turns the refusal into such a warning.

    Raises:
        ImportError: a release is refused; the message says which, and what is supported.
        SystemExit: the same for a command (`bodvcl ...`, `python -m bodvcl...`): one line, exit code 2.
    """
    installed = {name: _installed(name) for name in PACKAGES}
    anything = os.environ.get(OVERRIDE) == "1"
    tried = unsupported(PYTHON[0], {name: installed[name] for name in COMPILED_FOR})
    refused = unsupported(
        sys.version_info[:3], {name: v for name, v in installed.items() if name not in COMPILED_FOR}
    )
    if refused and not anything:
        _refuse(
            f"{'; '.join(refused + tried)}. Install a supported release, or set {OVERRIDE}=1 to go on "
            "without any promise"
        )
    if anything and refused + tried:
        _warn(f"not tested with these releases: {'; '.join(refused + tried)}")
    elif tried:
        _warn(
            f"{'; '.join(tried)}. Kernels compiled for it are not used, the PyTorch path serves "
            f"({OVERRIDE}=1 tries them)"
        )


def _refuse(message: str) -> NoReturn:
    if not _is_command():
        raise ImportError(f"bodvcl does not support what is installed: {message}")
    if sys.stderr is not None:
        print(f"bodvcl: error: {message}", file=sys.stderr)
    raise SystemExit(2)


def _warn(message: str) -> None:
    import multiprocessing

    if os.environ.get("RANK", "0") != "0" or multiprocessing.parent_process() is not None:
        return
    if not _is_command():
        warnings.warn(f"bodvcl: {message}", stacklevel=4)
    elif sys.stderr is not None:
        print(f"bodvcl: warning: {message}", file=sys.stderr)


def _words(name: str, version: str | Release | None, first: Release, end: Release) -> str:
    found = version if isinstance(version, str) else _dotted(version or ())
    return f"{name} {found} is not supported, {_dotted(first)} to below {_dotted(end)} is"


def _dotted(release: Release) -> str:
    return ".".join(map(str, release))


def _release(version: str | None) -> Release | None:
    """The numbers of a version; None for a version without numbers, which cannot be judged.

    A pre-release counts as the release that it is for.
    """
    match = re.match(r"v?(?:\d+!)?(\d+(?:\.\d+)*)", version or "")
    return tuple(map(int, match.group(1).split("."))) if match else None


def _installed(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _is_command() -> bool:
    """Whether this process was started as `bodvcl ...` or `python -m bodvcl...`."""
    words = getattr(sys, "orig_argv", sys.argv)  # Python 3.9, which is to be refused, has no orig_argv
    as_module = any(words[i - 1] == "-m" and words[i].split(".")[0] == "bodvcl" for i in range(1, len(words)))
    return as_module or any(Path(word).name == "bodvcl" for word in sys.argv[:1])
