"""Stub libraries of an older glibc: what GCC links against, so that a newer symbol fails at link time.

Zig carries the symbols of every glibc and makes such libraries for any of them. GCC compiles; of Zig's making
only glibc's static part gets into a library (`atexit`, which CUDA's runtime calls).
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from process import run

GLIBC = "2.28"
"""That of manylinux_2_28, and of PyTorch's own wheels."""
STUBS = {
    "libc.so.6": "libc.so.6",
    "libc_nonshared.a": "libc_nonshared.a",
    "libld.so.2": "libld.so",
    "libm.so.6": "libm.so",
    "libdl.so.2": "libdl.so",
    "libpthread.so.0": "libpthread.so",
    "librt.so.1": "librt.so",
}
"""Zig's file to the name that the linker looks for."""
LIBC = "INPUT ( libc.so.6 libc_nonshared.a AS_NEEDED ( libld.so ) )\n"
"""The file libc.so: a script of the linker, as glibc's own."""


def make_stubs(into: Path, machine: str) -> Path:
    """Write libc.so, libm.so, ... of glibc `GLIBC` for a machine (``x86_64``, ``aarch64``); their folder."""
    shutil.rmtree(into, ignore_errors=True)
    folder, cache = into / "lib", into / "cache"
    folder.mkdir(parents=True)
    (into / "empty.c").touch()
    command = ["-m", "ziglang", "build-lib", "-dynamic", "-lc", "-target", f"{machine}-linux-gnu.{GLIBC}"]
    command += ["-O", "ReleaseFast", "-fno-compiler-rt", "-fno-ubsan-rt", "-femit-bin=empty.so", "empty.c"]
    env = {**os.environ, "ZIG_GLOBAL_CACHE_DIR": str(cache), "ZIG_LOCAL_CACHE_DIR": str(cache)}
    run(command, cwd=into, log=into / "zig.log", env=env)
    for name, wanted in STUBS.items():
        (made,) = cache.glob(f"o/*/{name}")
        shutil.copyfile(made, folder / wanted)
    (folder / "libc.so").write_text(LIBC)
    return folder
