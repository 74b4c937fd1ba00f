"""Build the native libraries with CMake and tag the wheel ``py3-none-<platform>``.

The libraries hold no CPython symbol and only LibTorch stable-ABI symbols: one wheel serves every supported
Python and every supported PyTorch (pyproject.toml has the ranges). Nothing here imports torch; its directory
is enough. Whatever happens is written to ``bodvcl/build.json``, which ``bodvcl.ops.native`` reads.

Environment:
    BODVCL_BUILD=auto|cuda|cpu|none   what to build (default auto: what can be built here, else pure Python)
    CMAKE_CUDA_ARCHITECTURES          default "80-real;86-real;89-real;90-real;100-real;120"
    MAX_JOBS                          parallel compile jobs (default 2)
    TORCH_DIR                         directory of the torch package, where it cannot be imported
    CMAKE_TOOLCHAIN_FILE and _PYTHON_HOST_PLATFORM   another processor than this one's (docs/aarch64.md)
"""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from setuptools import Distribution, setup
from setuptools.command.build_py import build_py

try:
    from setuptools.command.bdist_wheel import bdist_wheel
except ImportError:  # setuptools < 70.1
    from wheel.bdist_wheel import bdist_wheel

HERE = Path(__file__).parent.resolve()
MODES = ("auto", "cuda", "cpu", "none")
MODE = os.environ.get("BODVCL_BUILD", "auto").lower()
LIBRARIES = ("_C", "_C_cuda")
TAIL_LINES = 25
PLATFORM = sysconfig.get_platform()
"""Of the wheel, such as linux-x86_64. ``_PYTHON_HOST_PLATFORM`` replaces it in a cross build."""


class CompileError(Exception):
    """A build command failed; the message holds its last lines."""


def torch_dir() -> Path | None:
    if override := os.environ.get("TORCH_DIR"):
        return Path(override)
    spec = importlib.util.find_spec("torch")
    return Path(spec.submodule_search_locations[0]) if spec and spec.submodule_search_locations else None


def torch_version(directory: Path) -> str | None:
    version = directory / "version.py"
    match = re.search(r"__version__ = '([^']+)'", version.read_text()) if version.exists() else None
    return match and match.group(1)


def commit() -> str | None:
    """The commit of these sources: an sdist has it in a file COMMIT. None where nobody knows."""
    if not (HERE / ".git").exists():
        given = HERE / "COMMIT"
        return given.read_text().strip() if given.exists() else None
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude", "*"],
            cwd=HERE,
            capture_output=True,
            text=True,
        )
    except OSError:
        return None
    return done.stdout.strip() or None


def missing_for_cpu(torch: Path | None) -> str | None:
    """Why no library can be built at all; None where one can."""
    if platform.system() != "Linux":
        return f"native libraries are built on Linux only, this is {platform.system()}"
    if torch is None:
        return "torch not found at build time (pass --no-build-isolation, or set TORCH_DIR)"
    if shutil.which("cmake") is None:
        return "cmake not found at build time"
    compiler = os.environ.get("CXX")
    if compiler is None and not any(map(shutil.which, ("c++", "g++", "clang++"))):
        return "no C++ compiler found at build time"
    return None


def gpu_driver() -> bool:
    return any(Path(p).exists() for p in ("/proc/driver/nvidia/version", "/dev/nvidiactl", "/dev/dxg"))


def missing_for_cuda(torch: Path, editable: bool) -> str | None:
    """Why ``auto`` leaves the CUDA library out; None where it builds it."""
    if not (torch / "lib" / "libtorch_cuda.so").exists():
        return f"the PyTorch in {torch} has no CUDA"
    if not (os.environ.get("CUDACXX") or shutil.which("nvcc") or Path("/usr/local/cuda/bin/nvcc").exists()):
        return "no CUDA compiler (nvcc) found at build time"
    if editable and not gpu_driver():
        return "editable install on a machine without a GPU driver (BODVCL_BUILD=cuda builds it anyway)"
    return None


def run(command: list[str]) -> None:
    print("+", " ".join(command), flush=True)
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    )
    print(done.stdout, flush=True)
    if done.returncode:
        tail = "\n".join(done.stdout.splitlines()[-TAIL_LINES:])
        raise CompileError(f"{' '.join(command[:2])} failed with exit status {done.returncode}:\n{tail}")


def compile_into(out: Path, torch: Path, cuda: bool) -> dict:
    """Configure, compile and install into ``out``; what CMake says about the build."""
    work = HERE / "build" / f"native-{'cuda' if cuda else 'cpu'}-{PLATFORM}"
    configure = ["cmake", "-S", str(HERE), "-B", str(work), f"-DTORCH_DIR={torch}"]
    configure += [f"-DBODVCL_CUDA={'ON' if cuda else 'OFF'}", f"-DPython3_EXECUTABLE={sys.executable}"]
    if shutil.which("ninja") and not (work / "Makefile").exists():
        configure += ["-G", "Ninja"]
    archs = os.environ.get("CMAKE_CUDA_ARCHITECTURES")
    configure.append(f"-DCMAKE_CUDA_ARCHITECTURES={archs}" if archs else "-UCMAKE_CUDA_ARCHITECTURES")
    run(configure)
    native = json.loads((work / "native.json").read_text())
    if (processor := native.pop("processor")) not in PLATFORM:
        raise CompileError(
            f"the compiler is one for {processor}, the wheel is for {PLATFORM}: set both "
            "CMAKE_TOOLCHAIN_FILE and _PYTHON_HOST_PLATFORM, or none of them (docs/aarch64.md)"
        )
    run(["cmake", "--build", str(work), "-j", os.environ.get("MAX_JOBS", "2")])
    run(["cmake", "--install", str(work), "--prefix", str(out)])
    return native


def build_native(out: Path, editable: bool) -> dict:
    """Build what ``MODE`` asks for into ``out`` and return the contents of build.json."""
    if MODE not in MODES:
        raise SystemExit(f"BODVCL_BUILD={MODE!r}: expected one of {', '.join(MODES)}")
    for name in LIBRARIES:
        (out / f"{name}.so").unlink(missing_ok=True)
    torch = torch_dir()
    reasons = dict.fromkeys(LIBRARIES)
    native: dict = {}
    if MODE == "none":
        reasons = dict.fromkeys(LIBRARIES, "BODVCL_BUILD=none")
    elif why := missing_for_cpu(torch):
        if MODE != "auto":
            raise SystemExit(f"BODVCL_BUILD={MODE}: {why}")
        reasons = dict.fromkeys(LIBRARIES, why)
    else:
        if MODE == "cpu":
            reasons["_C_cuda"] = "BODVCL_BUILD=cpu"
        elif MODE == "auto":
            reasons["_C_cuda"] = missing_for_cuda(torch, editable)
        with_cuda = {"cuda": [True], "cpu": [False], "auto": [True, False]}[MODE]
        if reasons["_C_cuda"]:
            with_cuda = [False]
        for cuda in with_cuda:
            try:
                native = compile_into(out, torch, cuda)
                break
            except (CompileError, OSError) as e:
                if MODE != "auto":
                    raise SystemExit(f"BODVCL_BUILD={MODE}: {e}") from e
                reasons["_C_cuda"] = reasons["_C_cuda"] or str(e)
                if not cuda:
                    reasons["_C"] = str(e)
    built = [name for name in LIBRARIES if (out / f"{name}.so").exists()]
    for name in LIBRARIES:
        if name not in built:
            print(f"bodvcl: {name} was not built: {reasons[name]}", file=sys.stderr, flush=True)
    native.pop("cuda_reason", None)
    return {
        "mode": MODE,
        "libraries": built,
        "reasons": {name: reasons[name] for name in LIBRARIES if name not in built},
        "torch": torch and torch_version(torch),
        "torch_target": "2.11",
        "platform": PLATFORM,
        "commit": commit(),
        **native,
    }


class BuildPy(build_py):
    """The Python files, then the libraries beside them (in the source tree for an editable install)."""

    def run(self):
        editable = bool(self.editable_mode)
        if not editable:  # an earlier build may have left modules that are no longer in the sources
            shutil.rmtree(Path(self.build_lib) / "bodvcl", ignore_errors=True)
        super().run()
        out = HERE / "bodvcl" if editable else Path(self.build_lib).resolve() / "bodvcl"
        out.mkdir(parents=True, exist_ok=True)
        info = build_native(out, editable)
        (out / "build.json").write_text(json.dumps(info, indent=2) + "\n")
        self.distribution.native_libraries = info["libraries"]


class Wheel(bdist_wheel):
    """Tagged for the platform when it holds a library, ``any`` when it does not."""

    def get_tag(self):
        if not getattr(self.distribution, "native_libraries", MODE != "none"):
            return "py3", "none", "any"
        return "py3", "none", super().get_tag()[2]


class BinaryDistribution(Distribution):
    def has_ext_modules(self):
        return MODE != "none"


setup(cmdclass={"build_py": BuildPy, "bdist_wheel": Wheel}, distclass=BinaryDistribution)
