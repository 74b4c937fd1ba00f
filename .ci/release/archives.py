"""What is in the wheels and the sdist, and that an index accepts them."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

from setuptools.config.pyprojecttoml import load_file


def wheel_problems(wheel: Path, root: Path, version: str) -> list[str]:
    """What is wrong with the members of a wheel, one line each.

    Args:
        wheel: the file.
        root: top folder of the sources that it was built from.
        version: expected, without a local part such as ``+cpu``.
    """
    found = []
    if wheel.name.split("-")[1].partition("+")[0] != version:
        found.append(f"its name does not have version {version}")
    with zipfile.ZipFile(wheel) as archive:
        members = {name for name in archive.namelist() if not name.endswith("/")}
        found += _record_problems(archive, members)
    expected = packaged_modules(root)
    modules = {name for name in members if name.endswith(".py")}
    found += [f"{name} is not in the sources" for name in sorted(modules - expected)]
    found += [f"{name} is missing" for name in sorted(expected - modules)]
    return found


def packaged_modules(root: Path) -> set[str]:
    """The Python files that a wheel must hold, as paths inside of it."""
    tool = load_file(root / "pyproject.toml")["tool"]["setuptools"]
    elsewhere = tool["package-dir"]
    found = set()
    for package in tool["packages"]:
        inside = package.replace(".", "/")
        folder = root / elsewhere.get(package, inside)
        found |= {f"{inside}/{file.name}" for file in folder.glob("*.py")}
    return found


def _record_problems(archive: zipfile.ZipFile, members: set[str]) -> list[str]:
    record = next((name for name in members if name.endswith(".dist-info/RECORD")), None)
    if record is None:
        return ["it has no RECORD"]
    lines = list(csv.reader(io.StringIO(archive.read(record).decode())))
    listed = {name: digest for name, digest, _ in lines}
    found = [f"{name} is in only one of RECORD and the archive" for name in sorted(members ^ set(listed))]
    for name in sorted(members & set(listed) - {record}):
        digest = base64.urlsafe_b64encode(hashlib.sha256(archive.read(name)).digest()).rstrip(b"=").decode()
        if listed[name] != f"sha256={digest}":
            found.append(f"{name} differs from its hash in RECORD")
    return found


def sdist_problems(sdist: Path, root: Path) -> list[str]:
    """Files of the sources that the sdist lacks, and build results in it."""
    with tarfile.open(sdist) as archive:
        members = {name.partition("/")[2] for name in archive.getnames()}
    command = ["git", "-C", str(root), "ls-files"]
    names = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    listed = {name for name in names if not (root / name).is_symlink()}  # links serve the checkout only
    found = [f"{name} is missing" for name in sorted(listed - members)]
    return found + [f"{name} is a build result" for name in sorted(members) if name.endswith((".so", ".pyc"))]


def index_problems(files: Sequence[Path]) -> list[str]:
    """What `twine check --strict` says of the description and metadata that an index shows."""
    done = _tool("twine", "check", "--strict", *map(str, files))
    return [] if done.returncode == 0 else [_said(done)]


def tag_problems(wheel: Path) -> list[str]:
    """Whether the symbols that auditwheel finds fit the glibc that the name of the wheel promises.

    auditwheel does not know PyTorch's libraries, which are loaded before ours: what counts is the platform
    that it finds for the symbols of the system's libraries.
    """
    promised = wheel.stem.split("-")[-1]
    done = _tool("auditwheel", "show", str(wheel))
    told = " ".join(done.stdout.split())
    found = re.search(r'constrains the platform tag to "(manylinux_\d+_\d+_\w+)"', told)
    if found is None:
        return [f"auditwheel names no platform: {_said(done)}"]
    if _glibc(found[1]) > _glibc(promised) or _machine(found[1]) != _machine(promised):
        return [f"its symbols need {found[1]}, its name promises {promised}"]
    return []


def _glibc(tag: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"_(\d+)(?=_)", tag)))


def _machine(tag: str) -> str:
    return re.sub(r"^manylinux(_\d+)*_", "", tag)


def _said(done: subprocess.CompletedProcess[str]) -> str:
    """All that a program printed in one line; of a traceback what it ends with."""
    said = done.stdout + done.stderr
    if "Traceback (most recent call last)" in said:
        said = said.strip().splitlines()[-1]
    return " ".join(said.split())


def _tool(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", program, *arguments]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, "NO_COLOR": "1"})
