"""One wheel: built in the unpacked sdist against glibc 2.28, then tagged for an index."""

from __future__ import annotations

import os
import platform
import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path

from process import run
from stubs import GLIBC

LOCAL_VERSION = {"cuda": "", "cpu": "+cpu"}
"""Behind the version. An index serves one file of a name: the CUDA wheel is the one without."""


def platform_tag(machine: str) -> str:
    """Of a wheel for systems with that glibc or a newer one."""
    return f"manylinux_{GLIBC.replace('.', '_')}_{machine}"


def build_environment(
    env: Mapping[str, str], mode: str, source: Path, torch: Path, stubs: Path, machine: str
) -> dict[str, str]:
    """The environment of a build that knows neither its folder nor its machine.

    Args:
        env: to start from. Flags of compilers in it are replaced.
        mode: ``cuda`` or ``cpu``.
        source: the unpacked sdist.
        torch: folder of the torch package.
        stubs: folder of the stub libraries.
        machine: processor that the wheel is for.
    """
    cross = {
        "CMAKE_TOOLCHAIN_FILE": str(source / f".ci/wheel/{machine}.cmake"),
        "_PYTHON_HOST_PLATFORM": f"linux-{machine}",
    }
    # A compiler may name a header by the shorter way to it where there is a link on the way.
    headers = dict.fromkeys((torch, (torch / "include").resolve().parent))
    paths = [f"-ffile-prefix-map={source}=bodvcl", *(f"-ffile-prefix-map={path}=torch" for path in headers)]
    # nvcc names kernels after a hash of the source's path and, without a seed, after the process id.
    names = ["-frandom-seed=bodvcl", "-Xcudafe=--orig_src_path_name=koopman_cuda.cu"]
    return {
        **env,
        **(cross if machine != platform.machine() else {}),
        "BODVCL_BUILD": mode,
        "BODVCL_GLIBC_STUBS": str(stubs),
        "TORCH_DIR": str(torch),
        "CXXFLAGS": shlex.join(paths),
        "CUDAFLAGS": shlex.join([*names, *(f"-Xcompiler={shlex.quote(path)}" for path in paths)]),
        "LDFLAGS": "-Wl,--strip-all",
    }


def build_wheel(
    mode: str, source: Path, torch: Path, stubs: Path, machine: str, out: Path
) -> tuple[Path, float]:
    """Build and repair a wheel; its path in ``out``, and the CPU seconds that it took."""
    raw, repaired, log = (source.parent / name for name in ("raw", "repaired", "build.log"))
    local = [f"--tag-build={LOCAL_VERSION[mode]}"] if LOCAL_VERSION[mode] else []
    line = ["setup.py", "-q", "egg_info", *local, "bdist_wheel", "-d", str(raw)]
    seconds = run(line, source, log, build_environment(os.environ, mode, source, torch, stubs, machine))
    (wheel,) = raw.glob("*.whl")
    # auditwheel reads wheels of every processor, but its command line offers the tags of this one only.
    program = f"platform.machine = lambda: {machine!r}; runpy.run_module('auditwheel', run_name='__main__')"
    line = ["-c", f"import platform, runpy; {program}", "repair", str(wheel), "-w", str(repaired)]
    line += ["--plat", platform_tag(machine), "--only-plat"]
    line += ["--exclude", "libtorch*.so", "--exclude", "libc10*.so"]
    seconds += run(line, source, log)
    (built,) = repaired.glob("*.whl")
    out.mkdir(parents=True, exist_ok=True)
    return Path(shutil.move(built, out / built.name)), seconds
