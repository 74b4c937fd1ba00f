"""The commit of the code: one form everywhere, so that it can be compared."""

from __future__ import annotations

import importlib
import json
import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CODE = "bodvcl/system/commit.py"


@pytest.fixture
def checkout(tmp_path, monkeypatch) -> Path:
    """A checkout whose commit has a tag, with the files that ask for the commit."""
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_CEILING_DIRECTORIES"):
        monkeypatch.delenv(name, raising=False)
    root = tmp_path / "checkout"
    for name in (CODE, "setup.py"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, root / name)
    me = ["-c", "user.name=me", "-c", "user.email=me@example.org"]
    for words in (["init", "-q"], ["add", "."], [*me, "commit", "-qm", "x"], [*me, "tag", "-am", "x", "v9"]):
        subprocess.run(["git", "-C", root, *words], check=True)
    return root


def told(root: Path) -> str:
    return runpy.run_path(str(root / CODE))["code_commit"]()


def every(root: Path, monkeypatch) -> dict[str, str]:
    """What each place that tells the commit says."""
    monkeypatch.chdir(root)
    monkeypatch.setattr("setuptools.setup", lambda **options: None)
    for folder in (ROOT, ROOT / ".ci/wheel"):
        monkeypatch.syspath_prepend(str(folder))
    with pytest.MonkeyPatch.context() as modules:
        for name in ("stop", "tree"):
            modules.setitem(sys.modules, name, None)  # put back afterwards, whatever is imported
            del sys.modules[name]
        return {
            "package": told(root),
            "build.json": runpy.run_path(str(root / "setup.py"))["commit"](),
            "sdist": importlib.import_module("tree").commit(root),
            "bench": importlib.import_module("bench.gpu.results").commit(root),
        }


def test_one_form_everywhere(checkout, monkeypatch):
    """Twelve digits, and no name of a tag, which a checkout without tags does not know."""
    (head,) = subprocess.run(
        ["git", "-C", checkout, "rev-parse", "HEAD"], capture_output=True, text=True, check=True
    ).stdout.split()
    assert set(every(checkout, monkeypatch).values()) == {head[:12]}
    with (checkout / "setup.py").open("a") as file:
        file.write("# changed\n")
    assert set(every(checkout, monkeypatch).values()) == {f"{head[:12]}-dirty"}


def test_a_git_that_refuses_tells_nothing(checkout, monkeypatch):
    monkeypatch.setenv("PATH", os.devnull)
    assert told(checkout) == ""


@pytest.mark.parametrize(("given", "said"), [("f884e1caa3c6", "f884e1caa3c6"), (None, "")])
def test_of_a_wheel(given, said, tmp_path):
    """``None`` is what a build without git writes."""
    (tmp_path / CODE).parent.mkdir(parents=True)
    shutil.copy(ROOT / CODE, tmp_path / CODE)
    (tmp_path / "bodvcl/build.json").write_text(json.dumps({"commit": given}))
    assert told(tmp_path) == said
