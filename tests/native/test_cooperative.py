"""The lane-parallel functions of the CUDA kernels, executed by threads on the CPU.

The same source is compiled by the host compiler; each lane of a group is a thread and a group synchronises
at a barrier. Results must equal those of the CPU operators, and the thread sanitizer must see no race.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from native_koopman import Settings, backward, cotangents, forward, walk, worst
from problem_file import run_program

from bodvcl.ops import native as _native

HERE = Path(__file__).parent
COMPILER = shutil.which("g++") or shutil.which("clang++")

pytestmark = [
    pytest.mark.skipif(COMPILER is None, reason="no C++ compiler"),
    pytest.mark.skipif(not _native.cpu_available(), reason=_native.why_not("cpu") or "available"),
]


def compile_emulator(directory: Path, *flags: str) -> Path:
    program = directory / "emulate"
    command = [COMPILER, "-std=c++17", "-pthread", *flags, str(HERE / "emulate.cpp"), "-o", str(program)]
    subprocess.run(command, check=True)
    return program


@pytest.fixture(scope="module")
def emulator(tmp_path_factory):
    return compile_emulator(tmp_path_factory.mktemp("emulate"), "-O1")


def emulate(
    program, directory, x, settings, grads, lanes, mask=None, stage_bytes=4096, max_gain=0.0, special=False
):
    """(outputs of forward, gradient, gain) by ``program``; x float64."""
    own = (lanes, stage_bytes, int(special))
    done, results = run_program([program], directory, x, settings, grads, mask, max_gain, own)
    if "FATAL: ThreadSanitizer" in done.stderr:
        pytest.skip(f"the thread sanitizer does not run here: {done.stderr.strip().splitlines()[0]}")
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr, done.stderr
    return results


CASES = [
    (Settings(), 8, 24, False),
    (Settings(mask=1, weights=1, pool=1, ridge=0.02), 8, 9, True),
    (Settings(weights=1, rank=2), 5, 40, False),
    (Settings(mask=1, rtol=0.2), 16, 33, True),
    (Settings(pool=1, ridge=0.05, rank=3), 9, 12, False),
    (Settings(mask=1, ridge=0.01), 33, 20, False),
    (Settings(mask=1, weights=1, ridge=0.01, pool=2), 8, 24, False),
    (Settings(pool=2), 9, 13, True),
]


@pytest.mark.parametrize("lanes", [1, 5, 32])
@pytest.mark.parametrize(("settings", "frames", "width", "masked"), CASES)
@pytest.mark.parametrize("stage_bytes", [64, 65536])
def test_equals_the_cpu_operators(emulator, tmp_path, lanes, settings, frames, width, masked, stage_bytes):
    if lanes == 32 and frames > 9:
        lanes = 3
    x = walk(3, frames, width)
    mask = torch.rand(3, frames, generator=torch.Generator().manual_seed(5)) > 0.2 if masked else None
    want = forward(x, settings, mask)
    grads = cotangents(want)
    want = (*want, *backward(grads, x, want[5], settings, mask, 3.0))
    got = emulate(emulator, tmp_path, x, settings, grads, lanes, mask, stage_bytes, max_gain=3.0)
    for k in (0, 1, 2, 6, 7):
        assert worst(got[k], want[k], floor=1e-6) < 1e-9, k
    torch.testing.assert_close(got[3][:, [1, 3, 4]], want[3][:, [1, 3, 4]])


SPECIAL = [
    (Settings(), 8, 24, False),
    (Settings(mask=1, ridge=0.01), 8, 41, False),
    (Settings(ridge=0.01, weights=1), 8, 9, True),
    (Settings(mask=1, weights=1, rtol=0.2), 8, 33, True),
    (Settings(weights=1, ridge=0.05), 8, 24, True),
    (Settings(mask=1), 8, 260, False),
    (Settings(rank=3), 8, 5, False),
    (Settings(mask=1, ridge=0.01), 16, 40, True),
    (Settings(xi=0.5), 16, 24, False),
]


@pytest.mark.parametrize(("settings", "frames", "width", "masked"), SPECIAL)
def test_kernels_of_one_number_of_frames_equal_the_cpu_operators(
    emulator, tmp_path, settings, frames, width, masked
):
    x = walk(3, frames, width)
    mask = torch.rand(3, frames, generator=torch.Generator().manual_seed(5)) > 0.2 if masked else None
    want = forward(x, settings, mask)
    grads = cotangents(want)
    want = (*want, *backward(grads, x, want[5], settings, mask, 3.0))
    got = emulate(emulator, tmp_path, x, settings, grads, 32, mask, max_gain=3.0, special=True)
    for k in (0, 1, 2, 6, 7):
        assert worst(got[k], want[k], floor=1e-6) < 1e-9, k
    torch.testing.assert_close(got[3][:, [1, 3, 4]], want[3][:, [1, 3, 4]])


def test_nan_stays_in_its_clip(emulator, tmp_path):
    x = walk(3, 8, 16)
    x[1, 2, 3] = float("nan")
    want = forward(x, Settings())
    grads = cotangents(want)
    want = (*want, *backward(grads, x, want[5], Settings()))
    got = emulate(emulator, tmp_path, x, Settings(), grads, 4)
    for k in (0, 1, 2, 3, 4, 6, 7):
        torch.testing.assert_close(got[k], want[k], equal_nan=True, rtol=1e-9, atol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize(("settings", "frames", "width", "masked"), [*CASES[:5], CASES[-1]])
def test_no_data_race(tmp_path, settings, frames, width, masked):
    program = compile_emulator(tmp_path, "-O1", "-g", "-fsanitize=thread")
    x = walk(2, frames, width)
    mask = torch.rand(2, frames, generator=torch.Generator().manual_seed(5)) > 0.2 if masked else None
    emulate(program, tmp_path, x, settings, cotangents(forward(x, settings, mask)), 4, mask)


@pytest.mark.slow
@pytest.mark.parametrize(("settings", "frames", "width", "masked"), [SPECIAL[0], SPECIAL[2], SPECIAL[5]])
def test_no_data_race_in_kernels_of_one_number_of_frames(tmp_path, settings, frames, width, masked):
    program = compile_emulator(tmp_path, "-O1", "-g", "-fsanitize=thread")
    x = walk(1, frames, width)
    mask = torch.rand(1, frames, generator=torch.Generator().manual_seed(5)) > 0.2 if masked else None
    emulate(program, tmp_path, x, settings, cotangents(forward(x, settings, mask)), 32, mask, special=True)
