"""A broken CUDA context ends the process of the tests, and no other error does."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
from cuda_errors import breaks_context

PROGRAM = """
import time
def test_fine():
    time.sleep(0.1)
def test_breaks():
    raise RuntimeError("CUDA error: an illegal memory access was encountered")
def test_later_1():
    pass
def test_later_2():
    pass
"""
CONFTEST = "from cuda_errors import pytest_exception_interact, pytest_runtest_protocol\n"


def session(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "test_program.py").write_text(PROGRAM)
    line = [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", *options, str(folder)]
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    return subprocess.run(line, capture_output=True, text=True, cwd=folder, env=env)


@pytest.mark.parametrize(
    ("message", "breaking"),
    [
        ("CUDA error: an illegal memory access was encountered", True),
        ("CUDA error: device-side assert triggered", True),
        ("Triton Error [CUDA]: misaligned address", True),
        ("CUDA out of memory. Tried to allocate 2.00 GiB", False),
        ("CUDA error: invalid configuration argument", False),
        ("an illegal memory access in another library", False),
    ],
)
def test_which_errors_break_a_context(message, breaking):
    assert bool(breaks_context(RuntimeError(message))) == breaking


def test_without_workers_the_session_ends_and_says_why(tmp_path):
    done = session(tmp_path)
    assert done.returncode == 1
    assert "CUDA: illegal memory access in test_program.py::test_breaks" in done.stdout
    assert "test_later_1" not in done.stdout
    assert "1 failed, 1 passed" in done.stdout


@pytest.mark.skipif(importlib.util.find_spec("xdist") is None, reason="pytest-xdist is not installed")
def test_with_workers_another_process_takes_over(tmp_path):
    done = session(tmp_path, "-n", "1")
    assert "PASSED test_program.py::test_later_1" in done.stdout
    assert "PASSED test_program.py::test_later_2" in done.stdout
    assert "an illegal memory access was encountered" in done.stdout
