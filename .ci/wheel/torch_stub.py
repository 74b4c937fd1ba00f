"""PyTorch for another processor, as far as linking goes, from the one that is installed.

The headers that are used are the same for every processor, and of the library the linker reads names only:
those of the stable ABI, which every PyTorch of that version has.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path


def make_torch(into: Path, torch: Path, compiler: str) -> Path:
    """Write a folder that serves as TORCH_DIR of a build for the CPU.

    Args:
        into: the folder; replaced.
        torch: folder of the installed torch package.
        compiler: of the other processor.

    Returns:
        ``into``.
    """
    shutil.rmtree(into, ignore_errors=True)
    (into / "lib").mkdir(parents=True)
    (into / "include").symlink_to(torch / "include")
    shutil.copyfile(torch / "version.py", into / "version.py")
    command = ["nm", "-D", "--defined-only", str(torch / "lib/libtorch_cpu.so")]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    names = sorted(set(re.findall(r" T ((?:aoti_torch|torch)_\w+)$", listed, re.MULTILINE)))
    (into / "stub.c").write_text("".join(f"void {name}(void) {{}}\n" for name in names))
    library = into / "lib/libtorch_cpu.so"
    flags = ["-x", "c", "-shared", "-fPIC", "-nostdlib", f"-Wl,-soname,{library.name}"]
    subprocess.run([compiler, *flags, str(into / "stub.c"), "-o", str(library)], check=True)
    return into
