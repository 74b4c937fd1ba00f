"""Stub libraries of an older glibc: what GCC links against, so that a newer symbol fails at link time.

Zig carries the symbols of every glibc and makes such libraries for any of them. GCC compiles; nothing of Zig
is in the result.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from process import run

GLIBC = "2.28"
"""That of manylinux_2_28, and of PyTorch's own wheels."""
LIBRARIES = ("libc.so.6", "libm.so.6", "libdl.so.2", "libpthread.so.0", "librt.so.1")


def make_stubs(into: Path, machine: str) -> Path:
    """Write libc.so, libm.so, ... of glibc `GLIBC` for a machine (``x86_64``, ``aarch64``); their folder."""
    shutil.rmtree(into, ignore_errors=True)
    folder, cache = into / "lib", into / "cache"
    folder.mkdir(parents=True)
    (into / "empty.c").touch()
    command = ["-m", "ziglang", "build-lib", "-dynamic", "-lc", "-target", f"{machine}-linux-gnu.{GLIBC}"]
    command += ["-fno-compiler-rt", "-fno-ubsan-rt", "-femit-bin=empty.so", "empty.c"]
    env = {**os.environ, "ZIG_GLOBAL_CACHE_DIR": str(cache), "ZIG_LOCAL_CACHE_DIR": str(cache)}
    run(command, cwd=into, log=into / "zig.log", env=env)
    for name in LIBRARIES:
        (made,) = cache.glob(f"o/*/{name}")
        shutil.copyfile(made, folder / f"{name.partition('.so')[0]}.so")
    return folder
