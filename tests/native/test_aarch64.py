"""The wheel for 64-bit ARM: cross-compiled, its kernels run by an emulator, against float64 PyTorch."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from native_koopman import Settings, cotangents, reference, walk, worst
from problem_file import run_program

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
COMPILER = "aarch64-linux-gnu-g++"
EMULATOR = shutil.which("qemu-aarch64") or shutil.which("qemu-aarch64-static")
OLDEST = "cortex-a53"
"""An ARMv8.0 processor: NEON, and nothing that came later."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which(COMPILER) is None, reason=f"needs {COMPILER}"),
    pytest.mark.skipif(EMULATOR is None, reason="needs qemu-aarch64"),
    pytest.mark.skipif(shutil.which("cmake") is None, reason="needs cmake"),
    pytest.mark.skipif(
        any(importlib.util.find_spec(name) is None for name in ("auditwheel", "elftools", "ziglang")),
        reason="needs the tools of make cluster-tools",
    ),
    pytest.mark.skipif(not (ROOT / ".git").exists(), reason="needs a clone of the repository"),
]


@dataclass(frozen=True)
class Built:
    """The wheel, and the compiled kernels that went into it."""

    wheel: Path
    kernels: Path


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Built:
    folder = tmp_path_factory.mktemp("aarch64")
    command = [sys.executable, str(ROOT / ".ci/wheel"), "aarch64", "--dirty"]
    command += ["--into", str(folder / "dist"), "--work", str(folder / "work")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = (folder / "dist/cpu").glob("*.whl")
    (kernels,) = (folder / "work/aarch64").glob(
        "*/build/native-cpu-linux-aarch64/**/koopman_cpu_kernels.cpp.o"
    )
    return Built(wheel, kernels)


@pytest.fixture(scope="module")
def command(built, tmp_path_factory) -> list[str]:
    """Runs the kernels of the wheel on a file."""
    program = str(tmp_path_factory.mktemp("program") / "run_neon")
    line = [COMPILER, "-std=c++17", "-O1", "-static", str(HERE / "run_neon.cpp"), str(built.kernels)]
    subprocess.run([*line, "-o", program], check=True)
    return [str(EMULATOR), "-cpu", OLDEST, program]


def test_the_wheel_says_what_it_is_for(built, tmp_path):
    assert re.fullmatch(r"bodvcl-[\d.]+\+cpu-py3-none-manylinux_2_28_aarch64\.whl", built.wheel.name)
    with zipfile.ZipFile(built.wheel) as archive:
        build = json.loads(archive.read("bodvcl/build.json"))
        library = archive.extract("bodvcl/_C.so", tmp_path)
    assert (build["platform"], build["isas"], build["libraries"]) == ("linux-aarch64", ["neon"], ["_C"])
    assert build["torch"] == torch.__version__
    header = subprocess.run(["readelf", "-h", library], capture_output=True, text=True, check=True).stdout
    assert re.search(r"Machine: +AArch64", header)


def test_the_arithmetic_is_vectors(built):
    """Multiply-adds of NEON's two doubles, not of one."""
    listing = subprocess.run(
        ["aarch64-linux-gnu-objdump", "-d", built.kernels], capture_output=True, text=True, check=True
    ).stdout
    pairs, single = len(re.findall(r"\tfmla\t\S+\.2d,", listing)), len(re.findall(r"\tfmadd\td", listing))
    assert pairs > 20 * single


DOUBLE = [
    (Settings(), 3, 4, False),
    (Settings(), 8, 37, False),
    (Settings(mask=1, weights=1, pool=1, ridge=0.02), 8, 9, True),
    (Settings(weights=1, rank=2), 5, 40, False),
    (Settings(mask=1, rtol=0.2), 16, 33, True),
    (Settings(pool=2), 9, 13, True),
    (Settings(ridge=0.01), 17, 130, False),
    (Settings(mask=1, ridge=0.01), 33, 20, False),
    (Settings(mask=1, weights=1, ridge=0.01, pool=2), 64, 7, False),
]


@pytest.mark.parametrize(("settings", "frames", "width", "masked"), DOUBLE)
def test_float64_is_the_pytorch_route(command, tmp_path, settings, frames, width, masked):
    """Five clips: two groups of lanes that are full and one that is not."""
    x = walk(5, frames, width)
    mask = torch.rand(5, frames, generator=torch.Generator().manual_seed(5)) > 0.2 if masked else None
    leaf = x.clone().requires_grad_()
    want = reference(leaf, settings, mask)
    grads = cotangents((want.static, want.dynamic, want.losses))
    total = sum((v * g).sum() for v, g in zip((want.static, want.dynamic, want.losses), grads))
    (expected,) = torch.autograd.grad(total, leaf)
    done, got = run_program(command, tmp_path, x, settings, grads, mask)
    assert done.returncode == 0, done.stderr
    assert worst(got[0], want.static, floor=1e-3) < 1e-8
    assert worst(got[1], want.dynamic, floor=1e-3) < 1e-8
    for k in range(4):
        assert worst(got[2][:, k : k + 1], want.losses[:, k : k + 1]) < 1e-8, k
    torch.testing.assert_close(got[3][:, [1, 3, 4]], want.stats[:, [1, 3, 4]])
    assert worst(got[6], expected, floor=1e-8) < 1e-8


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize(("frames", "width"), [(4, 5), (8, 33), (16, 128)])
@pytest.mark.parametrize("pool", [0, 1, 2])
def test_low_precision_is_rounding_of_the_exact_result(command, tmp_path, dtype, frames, width, pool):
    x, settings = walk(3, frames, width, dtype=dtype), Settings(pool=pool, ridge=0.01)
    leaf = x.double().requires_grad_()
    want = reference(leaf, settings)
    streams = (want.static.to(dtype), want.dynamic.to(dtype))
    grads = cotangents((*streams, want.losses))
    total = sum((v * g.double()).sum() for v, g in zip((want.static, want.dynamic, want.losses), grads))
    (expected,) = torch.autograd.grad(total, leaf)
    done, got = run_program(command, tmp_path, x, settings, grads)
    assert done.returncode == 0, done.stderr
    eps = torch.finfo(dtype).eps
    for value, exact in ((got[0], streams[0]), (got[1], streams[1]), (got[6], expected.to(dtype))):
        assert value.dtype == dtype
        torch.testing.assert_close(value, exact, rtol=eps, atol=1e-9)
    torch.testing.assert_close(got[2], want.losses, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_nan_stays_in_its_clip(command, tmp_path, dtype):
    clean = walk(5, 8, 16, dtype=dtype)
    bad = clean.clone()
    bad[2, 1, 3] = float("nan")
    settings = Settings(mask=1)
    want = reference(clean.double(), settings)
    grads = cotangents((want.static.to(dtype), want.dynamic.to(dtype), want.losses))
    (_, good), (_, out) = (run_program(command, tmp_path, x, settings, grads) for x in (clean, bad))
    others = torch.arange(5) != 2
    for k in (0, 1, 2, 4, 6, 7):
        assert torch.equal(out[k][others], good[k][others])
        assert out[k][2].isnan().all()
    assert out[3][:, 4].tolist() == [0, 0, 1, 0, 0]
