"""Ahead-of-time check of the CUDA kernels: they compile for every shipped architecture, within registers."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from patience import LONG

CSRC = Path(__file__).resolve().parents[2] / "csrc"
NVCC = shutil.which("nvcc") or shutil.which("/usr/local/cuda/bin/nvcc")
KERNELS = ("forward_warp", "backward_warp", "forward_block", "backward_block")
TYPES = 4
VARIANTS = 2
"""Each kernel exists for any number of frames and for one."""
# Registers of a thread that leave room for 3 blocks of 128 threads (warp kernels) or 2 (block kernels).
REGISTERS = {"warp": 168, "block": 255}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(NVCC is None, reason="needs nvcc"),
    pytest.mark.skipif(
        not (Path(torch.__file__).parent / "include/torch/csrc/stable").exists(),
        reason="needs PyTorch's headers",
    ),
]


@pytest.mark.parametrize("arch", [90, *(pytest.param(other, marks=LONG) for other in (80, 86, 89, 100, 120))])
def test_compiles_without_spills(arch, tmp_path):
    include = Path(torch.__file__).parent / "include"
    command = [
        NVCC,
        "-std=c++17",
        "-O3",
        "-c",
        str(CSRC / "koopman_cuda.cu"),
        "-o",
        str(tmp_path / "kernels.o"),
    ]
    command += [f"-gencode=arch=compute_{arch},code=sm_{arch}", "-Xptxas", "-v", "-isystem", str(include)]
    command += ["-DUSE_CUDA", "-DTORCH_TARGET_VERSION=0x020b000000000000", "-DTORCH_STABLE_ONLY"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    spills = re.findall(r"(\d+) bytes spill stores, (\d+) bytes spill loads", done.stderr)
    assert spills
    assert all(pair == ("0", "0") for pair in spills), done.stderr
    entries = re.findall(r"Compiling entry function '(\S+)'.*?Used (\d+) registers", done.stderr, re.DOTALL)
    found = [kernel for name, _ in entries for kernel in KERNELS if kernel in name]
    assert sorted(found) == sorted(KERNELS * TYPES * VARIANTS)
    for name, registers in entries:
        kind = "warp" if "_warp" in name else "block"
        assert int(registers) <= REGISTERS[kind], name
