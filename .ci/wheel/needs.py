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
PROGRAMS = {"cmake": "cmake", "g++": "g++", "patchelf": "patchelf"}
"""Program to the package that has it."""


def torch_folder() -> Path:
    """Folder of the torch package.

    Raises:
        Stop: it is not installed.
    """
    spec = importlib.util.find_spec("torch")
    if spec is None or not spec.submodule_search_locations:
        raise Stop(f"{sys.executable} has no PyTorch, whose headers are needed: make install sets up .venv")
    return Path(spec.submodule_search_locations[0])


def nvcc() -> str | None:
    """The CUDA compiler that CMake would take."""
    chosen = os.environ.get("CUDACXX")
    places = [chosen] if chosen else ["nvcc", "/usr/local/cuda/bin/nvcc"]
    return next(filter(None, map(shutil.which, places)), None)


def cuobjdump() -> str | None:
    """NVIDIA's program that lists what a CUDA library holds: of the toolkit, else of Triton."""
    triton = importlib.util.find_spec("triton")
    folders = (triton and triton.submodule_search_locations) or []
    bundled = [f"{folder}/backends/nvidia/bin/cuobjdump" for folder in folders]
    places = ["cuobjdump", "/usr/local/cuda/bin/cuobjdump", *bundled]
    return next(filter(None, map(shutil.which, places)), None)


def compiler(machine: str) -> str:
    """The C++ compiler for another processor, by the name that Debian, Ubuntu and Fedora give it."""
    return f"{machine}-linux-gnu-g++"


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
    if "aarch64" in wheels and platform.machine() != "aarch64" and shutil.which(compiler("aarch64")) is None:
        raise Stop(f"{compiler('aarch64')} not found: install g++-aarch64-linux-gnu")
    torch = torch_folder()
    if "cuda" in wheels:
        if not (torch / "lib" / "libtorch_cuda.so").exists():
            raise Stop(f"the CUDA wheel needs a PyTorch for CUDA, {torch} has none; WHEELS=cpu leaves it out")
        if nvcc() is None:
            raise Stop(
                "the CUDA wheel needs nvcc in CUDACXX, PATH or /usr/local/cuda; WHEELS=cpu leaves it out"
            )
        if cuobjdump() is None:
            raise Stop(
                "the CUDA wheel is checked with cuobjdump, of CUDA's toolkit or of Triton; neither is there"
            )
