"""The wheel of `make wheel`: an index accepts it, an old node loads it, it holds nothing of this machine."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import subprocess
import sys
import zipfile
from datetime import datetime, timezone
from pathlib import Path

import pytest
import torch
from patience import LONG
from wheel_call import Made, make

pytestmark = pytest.mark.slow
NEWEST = {"GLIBC": (2, 28), "GLIBCXX": (3, 4, 24), "CXXABI": (1, 3, 11), "GCC": (7, 0, 0)}
"""Symbol versions of manylinux_2_28 (PEP 600): those of RHEL 8."""


@pytest.fixture(scope="module")
def members(made: Made) -> dict[str, bytes]:
    with zipfile.ZipFile(made.wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture(scope="module")
def site(made: Made, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel unpacked in it."""
    folder = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(made.wheel) as archive:
        archive.extractall(folder)
    return folder


def test_name_and_tag(made, members):
    tag = f"py3-none-manylinux_2_28_{os.uname().machine}"
    assert re.fullmatch(rf"bodvcl-[\d.]+\+cpu-{tag}\.whl", made.wheel.name)
    (wheel,) = (text for name, text in members.items() if name.endswith(".dist-info/WHEEL"))
    assert f"Tag: {tag}\n" in wheel.decode()
    assert wheel.decode().count("Tag: ") == 1
    (metadata,) = (text for name, text in members.items() if name.endswith(".dist-info/METADATA"))
    assert f"\nVersion: {made.wheel.name.split('-')[1]}\n" in metadata.decode()


def test_the_table(made):
    rows = [line.split() for line in made.said.splitlines()]
    (wheel,) = (row for row in rows if row and row[0].endswith(".whl"))
    assert wheel[0] == f"dist/cpu/{made.wheel.name}"
    assert float(wheel[2]) == pytest.approx(made.wheel.stat().st_size / 1e6, abs=0.005)
    (sdist,) = (row for row in rows if row and row[0].endswith(".tar.gz"))
    assert float(sdist[2]) == pytest.approx(made.sdist.stat().st_size / 1e6, abs=0.005)


def test_symbols_of_an_old_system(site):
    listed = subprocess.run(
        ["objdump", "-T", site / "bodvcl/_C.so"], capture_output=True, text=True, check=True
    ).stdout
    found = re.findall(r"\*UND\*.*\(?\b(GLIBC|GLIBCXX|CXXABI|GCC)_([\d.]+)\)?", listed)
    assert {kind for kind, _ in found} == set(NEWEST)
    for kind, version in found:
        assert tuple(map(int, version.split("."))) <= NEWEST[kind], f"{kind}_{version}"


def test_stripped_and_without_paths(made, site, members):
    sections = subprocess.run(["objdump", "-h", site / "bodvcl/_C.so"], capture_output=True, text=True).stdout
    assert ".dynsym" in sections
    assert not re.search(r"\.symtab|\.debug", sections)
    for path in (made.work, Path.home(), Path(torch.__file__).parent, Path(sys.prefix), Path("/usr/include")):
        assert not [name for name, text in members.items() if str(path).encode() in text], path
    assert b"bodvcl/csrc/" in members["bodvcl/_C.so"], "messages name the file of the sources"


def test_holds_the_package_and_nothing_else(clone, members):
    parts = {name.split("/")[0].partition("-")[0] for name in members}
    assert parts == {"bodvcl"}
    modules = {name for name in members if name.endswith(".py")}
    assert modules == {
        f"bodvcl/{path.relative_to(clone / 'bodvcl')}"
        for path in (*(clone / "bodvcl").rglob("*.py"), *(clone / "bodvcl/kernels").rglob("*.py"))
    } | {"bodvcl/configs/__init__.py"}
    assert {name for name in members if name.endswith((".so", "build.json"))} == {
        "bodvcl/_C.so",
        "bodvcl/build.json",
    }


def test_record_lists_every_file(members):
    (name,) = (name for name in members if name.endswith(".dist-info/RECORD"))
    rows = dict(line.split(",")[:2] for line in members[name].decode().splitlines())
    files = {name for name in members if not name.endswith("/")}
    assert set(rows) == files
    for file in files - {name}:
        digest = base64.urlsafe_b64encode(hashlib.sha256(members[file]).digest()).decode().rstrip("=")
        assert rows[file] == f"sha256={digest}"


def test_dates_and_modes(clone, made):
    shown = subprocess.run(
        ["git", "-C", clone, "log", "-1", "--format=%ct"], capture_output=True, text=True, check=True
    ).stdout
    when = datetime.fromtimestamp(int(shown) // 2 * 2, tz=timezone.utc).timetuple()[:6]
    with zipfile.ZipFile(made.wheel) as archive:
        infos = archive.infolist()
    assert {info.date_time for info in infos} == {when}
    modes = {info.external_attr >> 16 & 0o777 for info in infos if not info.filename.endswith("/RECORD")}
    assert modes == {0o644, 0o755}  # that of RECORD is chosen by setuptools


def test_the_build_says_what_it_is(members):
    build = json.loads(members["bodvcl/build.json"])
    assert (build["mode"], build["libraries"]) == ("cpu", ["_C"])
    assert re.fullmatch(r"[\w.-]*[0-9a-f]{12}(-dirty)?|v[\d.]+(-dirty)?", build["commit"])


def test_loads_and_computes(site):
    """Imported from the wheel alone: the native operator agrees with PyTorch's route."""
    code = (
        "import bodvcl, torch\n"
        "from bodvcl.ops import native\n"
        "from bodvcl.ops.koopman import koopman_split\n"
        f"assert bodvcl.__file__.startswith({str(site)!r}), bodvcl.__file__\n"
        "assert native.cpu_available(), native.STATUS\n"
        "x = torch.randn(4, 8, 16, dtype=torch.float64)\n"
        "a, b = (koopman_split(x, backend=name) for name in ('cpu', 'torch'))\n"
        "torch.testing.assert_close(a.static, b.static)\n"
        "torch.testing.assert_close(a.dynamic, b.dynamic)\n"
    )
    env = {**os.environ, "PYTHONPATH": str(site), "PYTHONSAFEPATH": "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, cwd=site)
    assert done.returncode == 0, done.stderr


@LONG
def test_the_same_bytes_from_another_folder_and_umask(made, tmp_path):
    other = make(["cpu", "sdist"], tmp_path / "another place", env={"PYTHONHASHSEED": "7"}, umask=0o077)
    assert other.wheel.read_bytes() == made.wheel.read_bytes()
    assert other.sdist.read_bytes() == made.sdist.read_bytes()
