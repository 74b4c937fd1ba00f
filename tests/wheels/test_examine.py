"""The last check of `make wheel` finds what a wheel for an index must not have."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

SOURCE = """
#include <cstdlib>
extern "C" __attribute__((visibility("default"))) const char* where() { return std::getenv(__FILE__); }
"""
CODE = """
import dataclasses, json, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from examine import examine
print(json.dumps(dataclasses.asdict(examine(Path(sys.argv[2]), sys.argv[3:]))))
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library that is not stripped, has a search path, and names the folder of its source."""
    pytest.importorskip("elftools", reason="needs the tools of make cluster-tools")
    if shutil.which("g++") is None:
        pytest.skip("needs g++")
    folder = tmp_path_factory.mktemp("library")
    (folder / "where.cpp").write_text(SOURCE)
    command = ["g++", "-shared", "-fPIC", "-Wl,-rpath,/opt", "-o", folder / "_C.so", folder / "where.cpp"]
    subprocess.run(command, check=True)
    return folder / "_C.so"


def _examine(clone: Path, library: Path, folder: Path) -> dict[str, object]:
    wheel = folder / "bodvcl-1.0-py3-none-manylinux_2_28_x86_64.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.write(library, "bodvcl/_C.so")
    command = [sys.executable, "-c", CODE, clone / ".ci/wheel", wheel, library.parent]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def test_defects(clone, library, tmp_path):
    facts = _examine(clone, library, tmp_path)
    assert facts["tag"] == "py3-none-manylinux_2_28_x86_64"
    assert set(facts["defects"]) == {
        f"bodvcl/_C.so names the folder {library.parent}",
        "bodvcl/_C.so is not stripped",
        "bodvcl/_C.so has a search path for libraries",
    }


@pytest.mark.skipif(shutil.which("patchelf") is None, reason="needs patchelf")
def test_a_foreign_library(clone, library, tmp_path):
    copy = shutil.copy(library, tmp_path / "_C.so")
    subprocess.run(["patchelf", "--add-needed", "libpython3.11.so.1.0", copy], check=True)
    assert "bodvcl/_C.so needs libpython3.11.so.1.0" in _examine(clone, copy, tmp_path)["defects"]


def test_a_newer_glibc(clone, library, tmp_path):
    """GLIBC_2.2.5, of getenv, becomes a version that 2.28 does not have."""
    content = library.read_bytes()
    (tmp_path / "_C.so").write_bytes(content.replace(b"GLIBC_2.2.5\0", b"GLIBC_2.200\0"))
    facts = _examine(clone, tmp_path / "_C.so", tmp_path)
    if b"GLIBC_2.2.5\0" not in content:
        pytest.skip("another processor: another first version")
    assert facts["glibc"] == "2.200"
    assert "a library needs glibc 2.200" in facts["defects"]


@pytest.mark.parametrize(
    ("home", "found"),
    [("/home/someone", ["/home/someone"]), ("/", []), ("", []), (None, [])],
)
def test_homes(clone, home, found):
    """None: no HOME, and a user that the system does not know, as in many containers."""
    code = """
import pwd, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
pwd.getpwuid = {}.__getitem__
from traces import folders_here
print(folders_here(Path("/work"), Path("/")))
"""
    env = {name: value for name, value in os.environ.items() if name != "HOME"}
    env |= {} if home is None else {"HOME": home}
    command = [sys.executable, "-c", code, clone / ".ci/wheel"]
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    assert done.stdout == f"{['/work', *found]}\n", done.stderr
