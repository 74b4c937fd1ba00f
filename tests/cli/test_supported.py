"""Releases that bodvcl is not tested with: PyTorch gives a warning, others are refused, each in one line."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from bodvcl import _supported
from bodvcl._supported import PACKAGES, PYTHON, unsupported
from bodvcl.ops import native

ROOT = Path(__file__).resolve().parents[2]
IMPORT = ["-c", "import bodvcl; print('imported')"]
COMMAND = ["-m", "bodvcl.info", "--brief"]


def start(tmp_path: Path, words: list[str], installed: dict[str, str], **environment: str):
    """Run Python where the packages ``installed`` seem to have these versions."""
    for name, version in installed.items():
        folder = tmp_path / f"{name}-{version}.dist-info"
        folder.mkdir(parents=True)
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    path = os.pathsep.join([str(tmp_path), str(ROOT), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, *words],
        capture_output=True,
        text=True,
        env={**os.environ, **environment, "PYTHONPATH": path},
    )


def test_the_ranges_are_those_of_the_package():
    promised = metadata.metadata("bodvcl")
    asked = {r.name: r.specifier for r in map(Requirement, promised.get_all("Requires-Dist"))}
    assert SpecifierSet(promised["Requires-Python"]) == specifiers(*PYTHON)
    compared = [name for name in PACKAGES if name in asked]
    assert compared == ["torch", "numpy", "av"]  # PyTorch pins its Triton itself
    for name in compared:
        assert asked[name] == specifiers(*PACKAGES[name]), name


def specifiers(first: tuple[int, ...], end: tuple[int, ...]) -> SpecifierSet:
    return SpecifierSet(f">={'.'.join(map(str, first))},<{'.'.join(map(str, end))}")


def test_this_environment_is_supported():
    assert unsupported(sys.version_info[:3], {n: _supported._installed(n) for n in PACKAGES}) == []


@pytest.mark.parametrize(
    ("version", "fits"),
    [
        ("2.11", True),
        ("2.11.0", True),
        ("2.14.1+cu130", True),
        ("2.15.9", True),
        ("2.10.9", False),
        ("1.13.1", False),
        ("2.16.0", False),
        ("2.16.0.dev20261101+cpu", False),
        ("3", False),
        ("unknown", True),
        (None, True),
    ],
)
def test_a_version_is_judged_by_its_numbers(version, fits):
    assert unsupported((3, 11, 7), {"torch": version}) == (
        [] if fits else [f"torch {version} is not supported, 2.11 to below 2.16 is"]
    )


@pytest.mark.parametrize(
    ("python", "fits"), [((3, 9, 18), False), ((3, 10, 0), True), ((3, 13, 5), True), ((3, 14, 0), False)]
)
def test_a_python_is_judged_by_its_numbers(python, fits):
    assert (unsupported(python, {}) == []) is fits


def test_importing_raises_and_a_command_says_it_in_one_line(tmp_path):
    old = {"numpy": "1.25.2", "av": "16.1.0"}
    done = start(tmp_path / "a", IMPORT, old)
    last = done.stderr.splitlines()[-1]
    assert last.startswith(
        "ImportError: bodvcl does not support what is installed: numpy 1.25.2 is not supported"
    )
    assert "av 16.1.0 is not supported, 17 to below 20 is" in last
    done = start(tmp_path / "b", COMMAND, old)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("bodvcl: error: numpy 1.25.2 is not supported, 1.26 to below 3 is; av 16.1.0")


@pytest.mark.parametrize("options", [[], ["-u"], ["-W", "ignore", "-I"]])
def test_the_script_says_it_in_one_line_whatever_python_is_told(tmp_path, options):
    script = tmp_path / "bodvcl"
    script.write_text(f"import sys; sys.path[:0] = [{str(tmp_path)!r}, {str(ROOT)!r}]\nimport bodvcl\n")
    done = start(tmp_path, [*options, str(script), "doctor"], {"numpy": "1.25.2"})
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("bodvcl: error: numpy 1.25.2 is not supported")


@pytest.mark.parametrize("release", ["2.10.1", "2.16.0"])
def test_beside_another_pytorch_the_pytorch_path_serves(tmp_path, release):
    said = f"torch {release} is not supported, 2.11 to below 2.16 is"
    done = start(tmp_path / "a", IMPORT, {"torch": release})
    assert (done.returncode, done.stdout) == (0, "imported\n")
    assert f"UserWarning: bodvcl: {said}. Kernels compiled for it are not used" in done.stderr

    done = start(tmp_path / "b", COMMAND, {"torch": release})
    assert done.returncode == 0
    assert done.stderr == (
        f"bodvcl: warning: {said}. Kernels compiled for it are not used, the PyTorch path serves "
        "(BODVCL_ANY_VERSION=1 tries them)\n"
    )
    reason = f"{said} (BODVCL_ANY_VERSION=1 tries it)"
    if "_C" in native.BUILD.get("libraries", ()):
        assert done.stdout == f"bodvcl: the PyTorch path is used; no native operators: {reason}\n"


def test_beside_another_triton_its_kernels_are_not_used(tmp_path):
    ask = "from bodvcl.ops.contrastive.backend import explain_contrastive as e; print(e('cuda')['triton'])"
    done = start(tmp_path, ["-W", "ignore", "-c", ask], {"triton": "3.10.0"})
    assert (
        done.stdout
        == "triton 3.10.0 is not supported, 3.6 to below 3.10 is (BODVCL_ANY_VERSION=1 tries it)\n"
    )


def test_one_process_of_a_training_warns(tmp_path):
    other = start(tmp_path, IMPORT, {"torch": "2.16.0"}, RANK="3")
    assert (other.stdout, other.stderr) == ("imported\n", "")


def test_the_override_warns_and_goes_on(tmp_path):
    done = start(tmp_path / "a", IMPORT, {"numpy": "9.0"}, BODVCL_ANY_VERSION="1")
    assert (done.returncode, done.stdout) == (0, "imported\n")
    assert "not tested with these releases: numpy 9.0" in done.stderr
    done = start(tmp_path / "b", COMMAND, {"torch": "2.16.0"}, BODVCL_ANY_VERSION="1")
    assert "not tested with these releases: torch 2.16.0" in done.stderr
    if native.cpu_available():
        assert done.stdout == "bodvcl: native operators loaded\n"
