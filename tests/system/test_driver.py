"""What is said of an NVIDIA driver that is missing, too old, a stub, or hidden."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from bodvcl.system.driver import Driver, find_driver, why_no_gpu

MODULE = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  470.82.01  Tue Oct 26 21:50:17 UTC 2021\n"
OPEN_MODULE = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build  (x)\n"


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """Makes a library whose function answers like a driver's."""
    compiler = shutil.which("cc") or shutil.which("c++")
    if compiler is None:
        pytest.skip("needs a C compiler")
    folder = tmp_path_factory.mktemp("driver")

    def make(answer: str) -> str:
        source = folder / f"{len(list(folder.iterdir()))}.c"
        source.write_text(answer)
        subprocess.run([compiler, "-x", "c", "-shared", "-fPIC", "-o", f"{source}.so", source], check=True)
        return f"{source}.so"

    return make


def module(tmp_path: Path, text: str) -> Path:
    (tmp_path / "version").write_text(text)
    return tmp_path / "version"


@pytest.mark.parametrize(("text", "release"), [(MODULE, "470.82.01"), (OPEN_MODULE, "580.65.06")])
def test_a_driver_is_asked(tmp_path, library, text, release):
    answers = library("int cuDriverGetVersion(int* v) { *v = 11040; return 0; }")
    assert find_driver(answers, module(tmp_path, text)) == Driver(release, (11, 4))


def test_a_driver_that_cannot_answer(tmp_path, library):
    none = tmp_path / "none"
    stub = library("int cuDriverGetVersion(int* v) { return 34; }")
    assert find_driver(stub, none) == Driver("", None, f"cuDriverGetVersion of {stub} fails with error 34")
    other = find_driver(library("int something;"), none)
    assert other is not None
    assert "cuDriverGetVersion" in other.problem
    assert find_driver("libcuda-is-not-here.so.1", none) is None
    lost = find_driver("libcuda-is-not-here.so.1", module(tmp_path, MODULE))
    assert lost is not None
    assert lost.release == "470.82.01"
    assert "libcuda-is-not-here.so.1" in lost.problem


@pytest.mark.parametrize(
    ("driver", "built", "environment", "said"),
    [
        (None, None, {}, "PyTorch was built without CUDA"),
        (Driver("580.65.06", (13, 0)), None, {}, "without CUDA; this machine has an NVIDIA driver 580.65.06"),
        (None, "13.0", {}, "no NVIDIA driver (libcuda.so.1 is not found); PyTorch was built for CUDA 13.0"),
        (
            Driver("470.82.01", (11, 4)),
            "13.0",
            {},
            "470.82.01 is too old: it serves CUDA up to 11.4, PyTorch was",
        ),
        (Driver("", (12, 8)), "13.0", {}, "driver for CUDA 13, or a PyTorch built for an older CUDA"),
        (
            Driver("525.60", (12, 0)),
            "12.8",
            {},
            "no GPU is visible; the NVIDIA driver 525.60 serves CUDA 12.0",
        ),
        (Driver("", (13, 0)), "13.0", {"CUDA_VISIBLE_DEVICES": ""}, "CUDA_VISIBLE_DEVICES='' shows none"),
        (Driver("1.2", None, "error 34"), "13.0", {}, "driver 1.2 cannot be asked (error 34)"),
    ],
)
def test_why_there_is_no_gpu_is_one_line(driver, built, environment, said):
    line = why_no_gpu(driver, built, environment)
    assert said in line
    assert "\n" not in line
