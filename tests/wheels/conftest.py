"""What `make wheel` leaves, made once for all tests that look at it."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import pytest
from wheel_call import ROOT, Made, make

TOOLS = ("auditwheel", "elftools", "ziglang")


@pytest.fixture(scope="session")
def clone() -> Path:
    """The repository; tests are left out where the sources lie without it."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("needs git and a clone of the repository")
    return ROOT


@pytest.fixture(scope="session")
def made(clone, tmp_path_factory) -> Made:
    """The sdist and the CPU wheel."""
    missing = [name for name in TOOLS if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)} (make cluster-tools)")
    if shutil.which("cmake") is None or shutil.which("c++") is None:
        pytest.skip("needs cmake and a C++ compiler")
    return make(["cpu", "sdist"], tmp_path_factory.mktemp("made wheel"))
