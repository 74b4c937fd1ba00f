"""What is in a finished wheel, read from its bytes; what must not be there is a defect."""

from __future__ import annotations

import io
import re
import subprocess
import tempfile
import zipfile
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile
from elftools.elf.gnuversions import GNUVerNeedSection
from needs import cuobjdump
from stubs import GLIBC

LIBRARIES = re.compile(
    r"libtorch(_cpu|_cuda)?\.so|libstdc\+\+\.so\.6|libgcc_s\.so\.1|lib(c|m)\.so\.6|libdl\.so\.2|libpthread\.so\.0"
    r"|librt\.so\.1|ld-linux-.*"
)
"""What a library may ask the loader for: PyTorch's, which are loaded already, and the system's."""


@dataclass(frozen=True)
class Facts:
    """What the table says of a wheel.

    Attributes:
        tag: Python, ABI and platform.
        bytes: size of the file.
        glibc: the newest symbol version of glibc that a library needs.
        architectures: of GPUs, such as ``sm_90`` and ``compute_120 (PTX)``.
        defects: what must not be so, in words; empty for a wheel that may be published.
    """

    tag: str
    bytes: int
    glibc: str
    architectures: tuple[str, ...]
    defects: tuple[str, ...]


def examine(wheel: Path, paths: Collection[str]) -> Facts:
    """Read a wheel.

    Args:
        wheel: a file ``NAME-VERSION-TAG.whl``.
        paths: folders of this machine, none of which may be named in any file of the wheel.
    """
    defects: list[str] = []
    versions: set[tuple[int, ...]] = {(0,)}
    architectures: tuple[str, ...] = ()
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            content = archive.read(name)
            defects += [f"{name} names the folder {path}" for path in paths if path.encode() in content]
            if name.endswith(".so"):
                elf = ELFFile(io.BytesIO(content))
                versions |= glibc_versions(elf)
                defects += [f"{name} {defect}" for defect in library_defects(elf)]
                if "_cuda" in name:
                    architectures = gpu_architectures(content)
    newest = ".".join(map(str, max(versions)))
    if max(versions) > tuple(map(int, GLIBC.split("."))):
        defects.append(f"a library needs glibc {newest}")
    tag = "-".join(wheel.stem.split("-")[-3:])
    return Facts(tag, wheel.stat().st_size, newest, architectures, tuple(defects))


def glibc_versions(elf: ELFFile) -> set[tuple[int, ...]]:
    """Versions of glibc whose symbols a library needs."""
    sections = (part for part in elf.iter_sections() if isinstance(part, GNUVerNeedSection))
    names = [
        entry.name for section in sections for _, entries in section.iter_versions() for entry in entries
    ]
    found = (re.fullmatch(r"GLIBC_([\d.]+)", name) for name in names)
    return {tuple(map(int, match[1].split("."))) for match in found if match}


def library_defects(elf: ELFFile) -> list[str]:
    """Symbols that should be stripped, search paths, and libraries that no system promises."""
    defects = ["is not stripped"] if elf.get_section_by_name(".symtab") else []
    sections = (part for part in elf.iter_sections() if isinstance(part, DynamicSection))
    for tag in (tag for section in sections for tag in section.iter_tags()):
        if tag.entry.d_tag in ("DT_RPATH", "DT_RUNPATH"):
            defects.append("has a search path for libraries")
        if tag.entry.d_tag == "DT_NEEDED" and not LIBRARIES.fullmatch(needed := str(vars(tag)["needed"])):
            defects.append(f"needs {needed}")
    return defects


def gpu_architectures(library: bytes) -> tuple[str, ...]:
    """Architectures that a CUDA library has machine code or PTX for."""
    with tempfile.NamedTemporaryFile(suffix=".so") as file:
        file.write(library)
        file.flush()
        command = [str(cuobjdump()), "--list-elf", "--list-ptx", file.name]
        listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    code = sorted(set(re.findall(r"\.sm_(\d+)\w*\.cubin", listed)), key=int)
    ptx = sorted(set(re.findall(r"\.sm_(\d+)\w*\.ptx", listed)), key=int)
    return (*(f"sm_{number}" for number in code), *(f"compute_{number} (PTX)" for number in ptx))
