"""The build: metadata, stable symbols only, fallbacks that say why; and the loader that never dies."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from patience import LONG

from bodvcl.ops import native as _native

ROOT = Path(__file__).resolve().parents[2]
needs_library = pytest.mark.skipif(not _native.cpu_available(), reason=_native.why_not("cpu") or "available")
needs_tools = pytest.mark.skipif(
    shutil.which("cmake") is None or shutil.which("c++") is None, reason="needs cmake and a C++ compiler"
)


def test_build_metadata():
    build = _native.BUILD
    if not build:
        pytest.skip("no build.json: not installed through setup.py")
    assert build["mode"] in ("auto", "cuda", "cpu", "none")
    assert set(build["libraries"]) | set(build["reasons"]) == {"_C", "_C_cuda"}
    assert all(build["reasons"].values())
    assert build["torch_target"] == "2.11"
    if "_C" in build["libraries"]:
        assert build["compiler"]
        assert "-O3" in build["flags"]
        assert "-ffast-math" not in build["flags"]
        assert {"baseline", "neon"} & set(build["isas"])
    if "_C_cuda" in build["libraries"]:
        assert build["cuda_archs"]
        assert build["cuda_compiler"]


@needs_library
@pytest.mark.skipif(shutil.which("nm") is None, reason="needs nm")
@pytest.mark.parametrize("name", ["_C", "_C_cuda"])
def test_only_stable_symbols(name):
    """Nothing from at:: or c10:: is imported: the library serves every PyTorch from 2.11 on."""
    path = _native.DIRECTORY / f"{name}.so"
    if not path.exists():
        pytest.skip(f"{name} was not built: {_native.STATUS[name].reason}")
    done = subprocess.run(
        ["nm", "-D", "--undefined-only", "-C", path], capture_output=True, text=True, check=True
    )
    symbols = [line.split(maxsplit=1)[1] for line in done.stdout.splitlines()]
    assert any("aoti_torch" in s or "torch_" in s for s in symbols)
    assert not [s for s in symbols if "at::" in s or "c10::" in s or s.startswith("Py")]


@needs_library
def test_operators_are_registered():
    for name in ("koopman_forward", "koopman_backward"):
        assert torch._C._dispatch_has_kernel_for_dispatch_key(f"bodvcl_native::{name}", "CPU")
    if _native.STATUS["_C_cuda"].state == "loaded":
        assert torch._C._dispatch_has_kernel_for_dispatch_key("bodvcl_native::koopman_forward", "CUDA")


def test_loader_reports_missing_libraries(tmp_path):
    status = _native.load(tmp_path)
    assert status["_C"].state == "not built"
    assert "does not exist" in status["_C"].reason
    (tmp_path / "build.json").write_text(json.dumps({"reasons": {"_C": "no compiler", "_C_cuda": "no nvcc"}}))
    assert _native.load(tmp_path)["_C"] == ("not built", "no compiler")
    assert _native.load(tmp_path)["_C_cuda"] == ("not built", "no nvcc")


@pytest.mark.parametrize("text", ["{", "[]", ""])
def test_loader_survives_a_broken_build_file(tmp_path, text):
    (tmp_path / "build.json").write_text(text)
    assert _native.read_build(tmp_path) == {}
    assert _native.load(tmp_path)["_C"].state == "not built"


def test_loader_survives_a_broken_library(tmp_path):
    (tmp_path / "_C.so").write_bytes(b"not a library")
    (tmp_path / "_C_cuda.so").write_bytes(b"not a library")
    status = _native.load(tmp_path)
    assert status["_C"].state == "failed"
    assert status["_C"].reason
    assert status["_C_cuda"].state == "skipped"
    assert "_C" in status["_C_cuda"].reason


def test_environment_switches_off(tmp_path, monkeypatch):
    monkeypatch.setenv("BODVCL_NATIVE", "0")
    assert _native.load(tmp_path)["_C"] == ("disabled", "BODVCL_NATIVE=0")
    code = "import bodvcl.ops.native as n; print(n.cpu_available(), n.cuda_available(), n.why_not('cpu'))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False", "BODVCL_NATIVE=0"]


def test_cuda_of_another_major_is_skipped(monkeypatch):
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    assert "built with CUDA 13.0.88" in _native._cuda_mismatch({"cuda_compiler": "13.0.88"})
    assert _native._cuda_mismatch({"cuda_compiler": "12.4.1"}) is None
    monkeypatch.setattr(torch.version, "cuda", None)
    assert "without CUDA" in _native._cuda_mismatch({"cuda_compiler": "13.0.88"})


def test_why_not_names_the_device():
    assert "xpu" in _native.why_not("xpu")
    assert _native.why_not("cpu") == _native.STATUS["_C"].reason


@pytest.fixture
def sources(tmp_path):
    """A copy of what setup.py needs, to build in."""
    for name in ("bodvcl", "csrc", "kernels", "configs"):
        ignore = shutil.ignore_patterns("*.so", "__pycache__", "build.json")
        shutil.copytree(ROOT / name, tmp_path / "src" / name, ignore=ignore)
    for name in ("setup.py", "CMakeLists.txt", "pyproject.toml", "LICENSE", "README.md"):
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, tmp_path / "src" / name)
    (tmp_path / "src" / "README.md").touch()
    return tmp_path / "src"


def build(sources: Path, **env: str | None) -> tuple[subprocess.CompletedProcess, dict]:
    full = {**os.environ, "TORCH_DIR": str(Path(torch.__file__).parent), **env}
    full = {key: value for key, value in full.items() if value is not None}
    command = [sys.executable, "setup.py", "-q", "build_py", "--build-lib", "out"]
    done = subprocess.run(command, cwd=sources, env=full, capture_output=True, text=True)
    file = sources / "out" / "bodvcl" / "build.json"
    return done, json.loads(file.read_text()) if file.exists() else {}


def test_none_builds_nothing(sources):
    done, info = build(sources, BODVCL_BUILD="none")
    assert done.returncode == 0, done.stderr
    assert info["libraries"] == []
    assert set(info["reasons"].values()) == {"BODVCL_BUILD=none"}


def test_a_second_build_is_of_the_sources_as_they_are_now(sources):
    """A removed module is left out, and the file COMMIT of an sdist says which commit it is."""
    removed = sources / "bodvcl/removed.py"
    removed.touch()
    assert build(sources, BODVCL_BUILD="none")[1]["commit"] is None
    assert (sources / "out/bodvcl/removed.py").exists()
    removed.unlink()
    (sources / "COMMIT").write_text("0123456789ab\n")
    assert build(sources, BODVCL_BUILD="none")[1]["commit"] == "0123456789ab"
    assert not (sources / "out/bodvcl/removed.py").exists()
    assert (sources / "out/bodvcl/losses.py").exists()


def test_unknown_mode_is_refused(sources):
    done, _ = build(sources, BODVCL_BUILD="fast")
    assert done.returncode != 0
    assert "expected one of auto, cuda, cpu, none" in done.stderr


@pytest.mark.parametrize("mode", ["auto", "cpu"])
def test_missing_cmake(sources, mode):
    done, info = build(sources, BODVCL_BUILD=mode, PATH="/nonexistent")
    if mode == "auto":
        assert done.returncode == 0, done.stderr
        assert info["libraries"] == []
        assert info["reasons"]["_C"] == "cmake not found at build time"
    else:
        assert done.returncode != 0
        assert "BODVCL_BUILD=cpu: cmake not found" in done.stderr


@needs_tools
@pytest.mark.parametrize("mode", ["auto", "cpu"])
def test_failed_compile(sources, mode):
    """auto falls back to pure Python and keeps the last lines; an explicit mode fails with them."""
    header = sources / "csrc" / "problem.h"
    header.write_text("#error deliberately broken\n" + header.read_text())
    done, info = build(sources, BODVCL_BUILD=mode, CUDACXX=None)
    if mode == "auto":
        assert done.returncode == 0, done.stderr
        assert info["libraries"] == []
        assert "deliberately broken" in info["reasons"]["_C"]
        assert "_C was not built" in done.stderr
    else:
        assert done.returncode != 0
        assert "deliberately broken" in done.stderr


@needs_tools
@pytest.mark.parametrize("mode", ["auto", "cpu"])
def test_a_wheel_for_another_processor_than_the_compiler(sources, mode):
    done, info = build(sources, BODVCL_BUILD=mode, CUDACXX=None, _PYTHON_HOST_PLATFORM="linux-riscv64")
    said = "the wheel is for linux-riscv64: set both CMAKE_TOOLCHAIN_FILE and _PYTHON_HOST_PLATFORM, or none"
    if mode == "auto":
        assert done.returncode == 0, done.stderr
        assert info["libraries"] == []
        assert said in info["reasons"]["_C"]
    else:
        assert done.returncode != 0
        assert f"BODVCL_BUILD=cpu: the compiler is one for {os.uname().machine}, {said}" in done.stderr


@LONG  # tests/wheels builds a wheel and looks at its tag, too
@needs_tools
@pytest.mark.slow
def test_wheel_is_tagged_for_every_python(sources, tmp_path):
    env = {**os.environ, "BODVCL_BUILD": "cpu", "TORCH_DIR": str(Path(torch.__file__).parent)}
    command = [sys.executable, "setup.py", "-q", "bdist_wheel", "-d", str(tmp_path / "dist")]
    done = subprocess.run(command, cwd=sources, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    assert "-py3-none-linux_" in wheel.name
    listing = subprocess.run(
        [sys.executable, "-m", "zipfile", "-l", wheel], capture_output=True, text=True
    ).stdout
    assert "bodvcl/_C.so" in listing
    assert "bodvcl/build.json" in listing
