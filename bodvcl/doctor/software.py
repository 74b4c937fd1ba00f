"""Are Python, the packages and the C library such that bodvcl can work?"""

from __future__ import annotations

import importlib.metadata
import platform
import re
import sys
from collections.abc import Mapping, Sequence

from bodvcl import _supported
from bodvcl.doctor.outcome import Outcome, failed, ok, warning

GLIBC = (2, 28)
"""The oldest C library that PyTorch's wheels load with (tag manylinux_2_28)."""

_WIDELY_USED = ("torch", "torchvision", "numpy", "av")
_SHOWN = (*_WIDELY_USED, "triton")


def judge_packages(
    python: tuple[int, ...], installed: Mapping[str, str | None], missing: Sequence[str] = ()
) -> Outcome:
    """Whether the packages are there, in supported releases.

    Args:
        python: version of Python.
        installed: package to its version; None: not installed.
        missing: packages that bodvcl needs and that are not installed.
    """
    if missing:
        return failed(f"not installed: {', '.join(missing)}", f"pip install {' '.join(missing)}")
    unsupported = _supported.unsupported(python, installed)
    if unsupported:
        return warning("; ".join(unsupported), "install a supported release (docs/versions.md)")
    listed = ", ".join(f"{name} {version}" for name, version in installed.items() if version)
    return ok(f"Python {'.'.join(map(str, python))}, {listed}")


def check_packages() -> Outcome:
    """The check ``packages``."""
    installed = {name: version_of(name) for name in _SHOWN}
    missing = [name for name in needed_packages() if version_of(name) is None]
    return judge_packages(sys.version_info[:3], installed, missing)


def needed_packages() -> list[str]:
    """What the installed bodvcl asks for, without its extras.

    Of a bodvcl that is used from its sources without being installed only the packages that most of it needs.
    """
    try:
        asked = importlib.metadata.requires("bodvcl") or []
    except importlib.metadata.PackageNotFoundError:
        asked = [*_WIDELY_USED]
    return [re.split(r"[^\w.-]", line)[0] for line in asked if "extra ==" not in line]


def version_of(package: str) -> str | None:
    """The installed version of a package; None: it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def judge_glibc(library: str, version: str, tags: str) -> Outcome:
    """Whether the C library is new enough for the wheel that is installed.

    Args:
        library: its name: "glibc", or "" for another one.
        version: such as "2.36".
        tags: lines of the wheel's metadata; "": not installed as a wheel.
    """
    if library != "glibc":
        return failed(
            f"the C library is {library or 'not glibc'}", "PyTorch's wheels need glibc: not Alpine Linux"
        )
    wanted = GLIBC
    for found in re.findall(r"manylinux_(\d+)_(\d+)", tags):
        wanted = max(wanted, (int(found[0]), int(found[1])))
    text = f"glibc {version}, {wanted[0]}.{wanted[1]} is needed"
    if tuple(int(part) for part in re.findall(r"\d+", version)[:2]) < wanted:
        return failed(text, "use a container with a newer system, or build bodvcl on this one")
    return ok(text)


def check_glibc() -> Outcome:
    """The check ``glibc``."""
    try:
        tags = importlib.metadata.distribution("bodvcl").read_text("WHEEL") or ""
    except importlib.metadata.PackageNotFoundError:
        tags = ""
    return judge_glibc(*platform.libc_ver(), tags)


def check_torch() -> Outcome:
    """The check ``torch``: it can be imported, and multiplies."""
    import torch

    torch.set_num_threads(1)
    ones = torch.ones(64, 64)
    if not bool((ones @ ones == 64).all()):
        return failed(
            "a product of matrices is wrong", "install another PyTorch; test the memory of this node"
        )
    built = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built without CUDA"
    return ok(f"PyTorch {torch.__version__}, {built}, {torch.backends.cpu.get_cpu_capability()}")
