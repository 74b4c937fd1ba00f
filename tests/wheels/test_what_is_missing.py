"""What `make wheel` needs and does not find is one line, before anything is built."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HIDE = """
import runpy, shutil, sys
which = shutil.which
shutil.which = lambda name, *a, **k: None if {program!r} in name else which(name, *a, **k)
sys.modules.update(dict.fromkeys({modules!r}))
sys.argv = ["wheel", *{kinds!r}, "--dirty", "--into", "{folder}/dist", "--work", "{folder}/work"]
runpy.run_path("{root}/.ci/wheel", run_name="__main__")
"""


def _without(
    clone: Path, folder: Path, kinds: list[str], program: str = "no program", modules: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    code = HIDE.format(root=clone, folder=folder, kinds=kinds, program=program, modules=modules)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


@pytest.mark.parametrize(
    ("kind", "program", "modules", "said"),
    [
        ("cuda", "nvcc", (), "needs nvcc in CUDACXX, PATH or /usr/local/cuda; WHEELS=cpu leaves it out"),
        ("cpu", "no program", ("ziglang",), "has no ziglang: make cluster-tools installs it"),
        ("cpu", "no program", ("torch",), "has no PyTorch, whose headers are needed: make install"),
        ("cpu", "g++", (), "g++ not found: install g++"),
    ],
)
def test_a_missing_tool(clone, tmp_path, monkeypatch, kind, program, modules, said):
    pytest.importorskip("ziglang", reason="needs the tools of make cluster-tools")
    monkeypatch.delenv("CUDACXX", raising=False)
    done = _without(clone, tmp_path, [kind], program, modules)
    assert done.returncode == 2
    assert done.stderr.startswith("make wheel: ")
    assert said in done.stderr or (kind == "cuda" and "needs a PyTorch for CUDA" in done.stderr)
    assert len(done.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_a_cuda_compiler_that_is_not_there(clone, tmp_path, monkeypatch):
    pytest.importorskip("ziglang", reason="needs the tools of make cluster-tools")
    monkeypatch.setenv("CUDACXX", str(tmp_path / "nvcc"))
    done = _without(clone, tmp_path, ["cuda"], "no program", ())
    assert done.returncode == 2
    assert "needs nvcc in CUDACXX" in done.stderr or "needs a PyTorch for CUDA" in done.stderr


@pytest.mark.parametrize("date", ["abc", "", "-1", "4294967296"])
def test_a_date_that_is_none(clone, tmp_path, monkeypatch, date):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", date)
    done = _without(clone, tmp_path, ["sdist"])
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"make wheel: SOURCE_DATE_EPOCH={date}: expected seconds since 1970")
    assert len(done.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_an_unknown_kind(clone, tmp_path):
    done = _without(clone, tmp_path, ["rocm"])
    assert done.returncode == 2
    assert "unknown kind 'rocm': expected cuda, cpu, aarch64, sdist" in done.stderr


@pytest.mark.parametrize(
    ("repository", "said"),
    [
        (True, "a.txt and 1 more not committed: commit first, or try it with python .ci/wheel --dirty"),
        (False, "must be a clone of the repository: fatal: not a git repository"),
    ],
)
def test_sources_of_no_commit(clone, tmp_path, monkeypatch, repository, said):
    """A wheel that is published is that of a commit."""
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    root = tmp_path / "checkout"
    shutil.copytree(clone / ".ci/wheel", root / ".ci/wheel", ignore=shutil.ignore_patterns("__pycache__"))
    if repository:
        git = ["git", "-C", str(root), "-c", "user.name=a", "-c", "user.email=a@b"]
        for line in (["init", "-q"], ["add", "."], ["commit", "-qm", "first"]):
            subprocess.run([*git, *line], check=True)
        (root / "a.txt").touch()
        (root / "b.txt").touch()
    done = subprocess.run(
        [sys.executable, "-B", str(root / ".ci/wheel"), "sdist"], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (root / "dist").exists()
