"""A library that does not fit this system: import works, the PyTorch path serves, one line says why."""

from __future__ import annotations

import ctypes
import json
import os
import platform
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from bodvcl.ops import native as _native
from bodvcl.ops.cards import Card, serves, why_not_cards
from bodvcl.ops.load_errors import explain_load_error

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = _native.DIRECTORY / "_C.so"
needs_library = pytest.mark.skipif(not _native.cpu_available(), reason=_native.why_not("cpu") or "available")
needs_compiler = pytest.mark.skipif(shutil.which("c++") is None, reason="needs a C++ compiler")
needs_emulator = pytest.mark.skipif(
    shutil.which("qemu-x86_64") is None or platform.machine() != "x86_64", reason="needs qemu-x86_64"
)


def elf_hash(name: bytes) -> int:
    """As the ELF specification ("System V Application Binary Interface") has it."""
    h = 0
    for byte in name:
        h = (h << 4) + byte
        g = h & 0xF0000000
        h = (h ^ (g >> 24)) & ~g & 0xFFFFFFFF
    return h


def asks_for_a_newer_glibc(library: Path, copy: Path) -> None:
    """A copy that needs version GLIBC_2.99 of the C library in place of the newest that it needs."""
    content = library.read_bytes()
    names = {name for i in range(40) if b"\0" + (name := f"GLIBC_2.{i}".encode()) + b"\0" in content}
    old = max((n for n in names if len(n) == len(b"GLIBC_2.99")), key=lambda n: int(n.split(b".")[1]))
    content = content.replace(b"\0" + old + b"\0", b"\0GLIBC_2.99\0")
    before, after = (struct.pack("<I", elf_hash(name)) for name in (old, b"GLIBC_2.99"))
    assert before in content
    copy.write_bytes(content.replace(before, after))


@needs_library
def test_an_older_glibc_is_said_in_one_line(tmp_path):
    asks_for_a_newer_glibc(LIBRARY, tmp_path / "_C.so")
    with pytest.raises(OSError, match=r"version `GLIBC_2.99' not found"):
        ctypes.CDLL(str(tmp_path / "_C.so"))
    state, reason = _native.load(tmp_path)["_C"]
    here = os.confstr("CS_GNU_LIBC_VERSION").split()[1]
    assert state == "failed"
    assert reason == (
        f"built for glibc 2.99 or newer, this system has {here}: install a wheel for older systems, or build "
        "from the sources here"
    )


def test_other_errors_of_the_linker_are_one_line():
    text = "/usr/lib/libstdc++.so.6: version `GLIBCXX_3.4.99' not found (required by /a/_C.so)"
    assert explain_load_error(text).startswith("built for a newer libstdc++ or libgcc (with GLIBCXX_3.4.99)")
    assert explain_load_error("/a/_C.so: undefined\n symbol: x") == "/a/_C.so: undefined symbol: x"


@needs_compiler
@needs_emulator
def test_every_processor_gets_kernels_that_it_can_run(tmp_path):
    """The choice itself, compiled as in the library, on emulated processors."""
    source = tmp_path / "choice.cpp"
    source.write_text(
        "#include <cstdio>\n"
        f'#include "{ROOT}/csrc/cpu_choice.cpp"\n'
        "namespace bodvcl {\n"
        'const CpuKernels kernels_baseline{"baseline", 1, nullptr, nullptr, nullptr};\n'
        'const CpuKernels kernels_avx2{"avx2", 1, nullptr, nullptr, nullptr};\n'
        'const CpuKernels kernels_avx512{"avx512", 1, nullptr, nullptr, nullptr};\n'
        "}\n"
        'int main() { std::printf("%s", bodvcl_cpu_isa()); }\n'
    )
    program = tmp_path / "choice"
    flags = ["-std=c++17", *(f"-DBODVCL_HAS_{isa}" for isa in ("BASELINE", "AVX2", "AVX512"))]
    subprocess.run(["c++", *flags, "-o", program, source], check=True)

    def choice(processor: str, **environment: str) -> str:
        command = ["qemu-x86_64", "-cpu", processor, program]
        env = {**os.environ, "BODVCL_CPU_ISA": "", **environment}
        return subprocess.run(command, capture_output=True, text=True, check=True, env=env).stdout

    assert choice("qemu64") == ""  # no SSE4.2
    assert choice("Nehalem") == "baseline"
    assert choice("SandyBridge") == "baseline"  # AVX, but not AVX2
    assert choice("Haswell") == "avx2"
    assert choice("Haswell", BODVCL_CPU_ISA="baseline") == "baseline"
    assert choice("Nehalem", BODVCL_CPU_ISA="avx2") == ""


@needs_library
def test_a_processor_without_kernels_takes_the_pytorch_path(monkeypatch):
    monkeypatch.delenv("BODVCL_CPU_ISA", raising=False)
    assert _native.cpu_isa() in ("baseline", "avx2", "avx512")
    monkeypatch.setattr(_native, "cpu_isa", lambda library: "")
    assert _native.load()["_C"] == ("skipped", _native.TOO_OLD)


@needs_library
@needs_emulator
@pytest.mark.slow
@pytest.mark.skipif(os.environ.get("BODVCL_LONG") != "1", reason="half a minute each: BODVCL_LONG=1")
@pytest.mark.parametrize("processor", ["Nehalem", "Haswell"])  # older ones: new NumPy does not start
def test_the_whole_library_on_another_processor(processor):
    """Import, values and gradients under emulation: no illegal instruction, the numbers of this machine."""
    program = (
        "import sys, torch; from bodvcl.ops.koopman import koopman_split\n"
        "from bodvcl.ops.koopman.backend import explain_koopman\n"
        "torch.manual_seed(0); x = torch.randn(3, 6, 16, dtype=torch.double, requires_grad=True)\n"
        "split = koopman_split(x); split.dynamic.square().sum().backward()\n"
        "print(explain_koopman('cpu')['backend'], float(x.grad.square().sum()))\n"
    )
    command = [sys.executable, "-c", program]
    here = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    emulated = ["qemu-x86_64", "-cpu", processor, *command]
    there = subprocess.run(emulated, capture_output=True, text=True, check=True).stdout.split()
    assert there[0] == "cpu"
    assert float(there[1]) == pytest.approx(float(here[1]), rel=1e-6)


@pytest.mark.parametrize(
    ("archs", "capability", "fits"),
    [
        (["80-real", "90-real"], (8, 0), True),
        (["80-real"], (8, 6), True),  # machine code of the same major version
        (["86-real"], (8, 0), False),
        (["80-real", "90-real", "120"], (7, 5), False),
        (["80-real", "90-real"], (10, 0), False),
        (["90-virtual"], (12, 0), True),  # PTX, compiled by the driver
        (["90-virtual"], (8, 9), False),
        (["90"], (10, 3), True),
        (["90a-real"], (9, 0), True),
        (["90a"], (10, 0), False),
        (["all-major", "80-real"], (8, 0), True),
        ([], (9, 0), False),
    ],
)
def test_a_card_is_served_by_its_code_or_by_ptx(archs, capability, fits):
    assert serves(archs, capability) is fits


def test_a_card_that_is_not_in_the_build_takes_the_pytorch_path(monkeypatch):
    cards = (Card("NVIDIA H100", (9, 0)), Card("Tesla T4", (7, 5)))
    why = (
        "Tesla T4 (sm_75) is not among the cards of this build (80-real, 90-real): build with "
        "CMAKE_CUDA_ARCHITECTURES=75-real, or hide the card with CUDA_VISIBLE_DEVICES"
    )
    assert why_not_cards(["80-real", "90-real"], cards) == why
    assert why_not_cards(["80-real", "90-real"], cards[:1]) == ""

    loaded = _native.State("loaded", "")
    monkeypatch.setattr(_native, "STATUS", {"_C": loaded, "_C_cuda": loaded})
    monkeypatch.setattr(_native, "BUILD", {"cuda_archs": ["80-real", "90-real"]})
    monkeypatch.setattr(_native, "visible_cards", lambda: cards)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert not _native.cuda_available()
    from bodvcl.ops.koopman.backend import explain_koopman

    told = explain_koopman("cuda")
    assert told["backend"] == "torch"
    assert why in told["cuda"]
    monkeypatch.setattr(_native, "visible_cards", lambda: cards[:1])
    assert _native.cuda_available()
    assert explain_koopman("cuda")["backend"] == "cuda"


def test_the_question_for_the_cards_can_be_compiled(monkeypatch):
    """`torch.compile` traces through the choice of a backend, but not into CUDA."""
    monkeypatch.setattr(_native, "BUILD", {"cuda_archs": ["80-real"]})
    monkeypatch.setattr(_native, "visible_cards", lambda: (Card("Tesla T4", (7, 5)),))

    @torch.compile(backend="eager", fullgraph=True)
    def refuses(x):
        return x + 1 if _native._unserved_card() else x

    assert refuses(torch.zeros(1)).item() == 1


@needs_library
def test_the_cuda_library_is_left_out_beside_a_pytorch_without_cuda(tmp_path, monkeypatch):
    """A node for CPUs, with the wheel for CUDA."""
    shutil.copy(LIBRARY, tmp_path / "_C.so")
    (tmp_path / "_C_cuda.so").write_bytes(b"needs libtorch_cuda.so")
    (tmp_path / "build.json").write_text(json.dumps({"cuda_compiler": "13.0.88"}))
    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setattr(_native, "_load_one", lambda path: _native.State("loaded", ""))
    status = _native.load(tmp_path)
    assert status["_C"].state == "loaded"
    assert status["_C_cuda"] == ("skipped", "this PyTorch was built without CUDA")
