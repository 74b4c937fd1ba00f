"""The sdist holds all that git holds, by itself and the same every time."""

from __future__ import annotations

import subprocess
import tarfile
from pathlib import Path

import pytest
from wheel_call import Made, make

LINKS = {"bodvcl/configs", "bodvcl/kernels"}
"""Links of the checkout to folders beside the package, which the sdist holds."""
WRITTEN = {"COMMIT", "PKG-INFO", "setup.cfg"}
"""Files that only the sdist has, beside the folder that ends in .egg-info."""


@pytest.fixture(scope="module")
def sdist(clone, tmp_path_factory) -> Made:
    return make(["sdist"], tmp_path_factory.mktemp("sdist"))


def _git(root: Path, *arguments: str) -> str:
    return subprocess.run(["git", "-C", root, *arguments], capture_output=True, text=True, check=True).stdout


def test_holds_what_git_holds(sdist, clone):
    with tarfile.open(sdist.sdist) as tar:
        files = {m.name.partition("/")[2] for m in tar.getmembers() if not m.isdir()}
    tracked = set(_git(clone, "ls-files", "--cached", "--others", "--exclude-standard").splitlines())
    tracked = {name for name in tracked if (clone / name).exists()}
    assert tracked - files == LINKS
    assert {name for name in files - tracked if ".egg-info/" not in name} == WRITTEN


def test_says_which_commit_it_is_of(sdist, clone):
    with tarfile.open(sdist.sdist) as tar:
        (name,) = (name for name in tar.getnames() if name.endswith("/COMMIT"))
        text = tar.extractfile(name).read().decode().strip()
    described = _git(clone, "describe", "--always", "--abbrev=12", "--exclude", "*").strip()
    dirty = bool(_git(clone, "status", "--porcelain"))
    assert text == described + ("-dirty" if dirty else "")


def test_no_trace_of_the_machine(sdist, clone):
    when = int(_git(clone, "log", "-1", "--format=%ct"))
    with tarfile.open(sdist.sdist) as tar:
        members = tar.getmembers()
    assert [m.name for m in members] == sorted(m.name for m in members)
    assert {(m.mtime, m.uid, m.gid, m.uname, m.gname) for m in members} == {(when, 0, 0, "", "")}
    assert {m.mode for m in members} == {0o644, 0o755}


def test_the_same_bytes_from_another_folder_and_umask(sdist, tmp_path):
    other = make(["sdist"], tmp_path / "another", env={"PYTHONHASHSEED": "7"}, umask=0o077)
    assert other.sdist.read_bytes() == sdist.sdist.read_bytes()
