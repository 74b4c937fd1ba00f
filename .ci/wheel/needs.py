"""What a build needs beside Python, asked before it starts."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Collection
from pathlib import Path

from process import search_path
from stop import Stop

MODULES = ("auditwheel", "elftools", "ziglang")
PROGRAMS = {"cmake": "cmake", "c++": "g++", "patchelf": "patchelf"}
"""Program to the package that has it."""


def torch_folder() -> Path:
    """Folder of the torch package.

    Raises:
        Stop: it is not installed.
    """
    spec = importlib.util.find_spec("torch")
    if spec is None or not spec.submodule_search_locations:
        raise Stop(
            f"PyTorch is needed, for its headers: {sys.executable} has none; make install sets up .venv"
        )
    return Path(spec.submodule_search_locations[0])


def nvcc() -> str | None:
    """The CUDA compiler that CMake would take."""
    return os.environ.get("CUDACXX") or shutil.which("nvcc") or shutil.which("/usr/local/cuda/bin/nvcc")


def check_needs(wheels: Collection[str]) -> None:
    """Everything that building these wheels needs is there.

    Raises:
        Stop: something is missing.
    """
    if not wheels:
        return
    if platform.system() != "Linux":
        raise Stop(f"wheels are built on Linux, this is {platform.system()}")
    missing = [module for module in MODULES if importlib.util.find_spec(module) is None]
    if missing:
        raise Stop(f"{sys.executable} has no {', '.join(missing)}: make cluster-tools installs it into .venv")
    for program, package in PROGRAMS.items():
        if shutil.which(program, path=search_path()) is None:
            raise Stop(f"{program} not found: install {package}")
    torch = torch_folder()
    if "cuda" in wheels and not (torch / "lib" / "libtorch_cuda.so").exists():
        raise Stop(
            f"the CUDA wheel needs a PyTorch for CUDA, {torch} has none; WHEELS=cpu builds the CPU wheel"
        )
    if "cuda" in wheels and nvcc() is None:
        raise Stop(
            "the CUDA wheel needs nvcc (CUDACXX, PATH or /usr/local/cuda); WHEELS=cpu builds the CPU wheel"
        )
