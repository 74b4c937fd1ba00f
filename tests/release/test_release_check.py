"""`make release-check`: every check fails where it should, and what was not checked is not passed."""

from __future__ import annotations

import base64
import hashlib
import importlib
import json
import os
import platform
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

import bodvcl
from bodvcl._supported import PACKAGES, PYTHON
from bodvcl.ops import native

ROOT = Path(__file__).resolve().parents[2]
MODULES = ("outcome", "matrix", "version", "archives", "environment")


def load(*names: str) -> SimpleNamespace:
    """Modules of .ci/release, which import each other by short names."""
    folder = str(ROOT / ".ci/release")
    sys.path.insert(0, folder)
    try:
        return SimpleNamespace(**{name: importlib.import_module(name) for name in names})
    finally:
        sys.path.remove(folder)
        for name in names:
            sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def release() -> SimpleNamespace:
    return load(*MODULES)


def test_the_matrix_has_every_python_and_every_pytorch(release):
    rows = release.matrix.rows()
    assert {row.python for row in rows} == {f"3.{minor}" for minor in range(PYTHON[0][1], PYTHON[1][1])}
    first, end = PACKAGES["torch"]
    assert {row.torch for row in rows} == {f"2.{minor}" for minor in range(first[1], end[1])}
    assert [row.source for row in rows].count("sdist") == 1
    assert release.matrix.described_row() == rows[-2]
    assert len({row.name for row in rows}) == len(rows)


def test_only_wheels_for_this_processor_are_installed(release):
    names = ("manylinux_2_28_x86_64", "manylinux_2_28_aarch64", "any")
    wheels = [Path(f"dist/bodvcl-1.2.3-py3-none-{name}.whl") for name in names]
    assert release.matrix.wheels_for("x86_64", wheels) == [wheels[0], wheels[2]]
    assert release.matrix.wheels_for("aarch64", wheels) == wheels[1:]


def test_this_version_is_the_same_everywhere(release):
    assert release.version.version_problems(ROOT, bodvcl.__version__, []) == []


@pytest.mark.parametrize(
    ("cited", "heading", "tags", "said"),
    [
        ("1.2.3", "1.2.3 (2026-11-28)", ["v1.2.3"], []),
        ("1.2.3", "1.2.3 (unreleased)", [], []),
        ("1.2.2", "1.2.3 (unreleased)", [], ["CITATION.cff has version 1.2.2, the package 1.2.3"]),
        ("1.2.3", "1.2.2 (unreleased)", [], ["CHANGELOG.md has no section '## 1.2.3 (DATE or unreleased)'"]),
        ("1.2.3", "1.2.3 (soon)", [], ["CHANGELOG.md: 1.2.3 has 'soon', expected YYYY-MM-DD or unreleased"]),
        ("1.2.3", "1.2.3 (2026-11-28)", ["v1.3"], ["the commit is tagged v1.3, expected v1.2.3"]),
        ("1.2.3", "1.2.3 (unreleased)", ["v1.2.3"], ["is tagged v1.2.3, but CHANGELOG.md says unreleased"]),
    ],
)
def test_a_version_that_differs_somewhere_is_found(release, tmp_path, cited, heading, tags, said):
    (tmp_path / "CITATION.cff").write_text(f"cff-version: 1.2.0\nversion: {cited}\n")
    (tmp_path / "CHANGELOG.md").write_text(f"# Changelog\n\n## {heading}\n\n- x\n")
    found = release.version.version_problems(tmp_path, "1.2.3", tags)
    assert len(found) == len(said)
    assert all(part in line for part, line in zip(said, found))


PYPROJECT = """[tool.setuptools]
packages = ["bodvcl", "bodvcl.kernels"]
[tool.setuptools.package-dir]
"bodvcl.kernels" = "kernels"
"""
MEMBERS = {"bodvcl/__init__.py": b"x = 1", "bodvcl/kernels/one.py": b"y = 2", "bodvcl/build.json": b"{}"}


@pytest.fixture
def sources(tmp_path) -> Path:
    """What is to be packed."""
    for name, text in {
        "pyproject.toml": PYPROJECT,
        "bodvcl/__init__.py": "x = 1",
        "kernels/one.py": "y = 2",
    }.items():
        (tmp_path / "src" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "src" / name).write_text(text)
    return tmp_path / "src"


def pack(
    folder: Path, members: dict[str, bytes], name: str = "bodvcl-1.2.3-py3-none-any.whl", record=None
) -> Path:
    """A wheel with a right RECORD of ``members``, or of ``record``."""
    lines = []
    for member, content in (record or members).items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        lines.append(f"{member},sha256={digest},{len(content)}")
    file = folder / name
    with zipfile.ZipFile(file, "w") as archive:
        for member, content in members.items():
            archive.writestr(member, content)
        own = "bodvcl-1.2.3.dist-info/RECORD"
        archive.writestr(own, "\n".join([*lines, f"{own},,"]))
    return file


@pytest.mark.parametrize(
    ("changed", "record", "version", "said"),
    [
        ({}, None, "1.2.3", []),
        ({}, None, "1.2.4", ["its name does not have version 1.2.4"]),
        ({"bodvcl/gone.py": b""}, None, "1.2.3", ["bodvcl/gone.py is not in the sources"]),
        ({"tests/test_x.py": b""}, None, "1.2.3", ["tests/test_x.py is not in the sources"]),
        ({"bodvcl/kernels/one.py": None}, None, "1.2.3", ["bodvcl/kernels/one.py is missing"]),
        (
            {"bodvcl/build.json": b"[]"},
            MEMBERS,
            "1.2.3",
            ["bodvcl/build.json differs from its hash in RECORD"],
        ),
        ({"bodvcl/note": b""}, MEMBERS, "1.2.3", ["bodvcl/note is in only one of RECORD and the archive"]),
    ],
)
def test_the_members_of_a_wheel(release, sources, tmp_path, changed, record, version, said):
    members = {name: content for name, content in {**MEMBERS, **changed}.items() if content is not None}
    wheel = pack(tmp_path, members, record=record)
    assert release.archives.wheel_problems(wheel, sources, version) == said


def test_a_wheel_without_a_record(release, sources, tmp_path):
    wheel = tmp_path / "bodvcl-1.2.3-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for member, content in MEMBERS.items():
            archive.writestr(member, content)
    assert release.archives.wheel_problems(wheel, sources, "1.2.3") == ["it has no RECORD"]


@pytest.mark.skipif(not native.cpu_available(), reason=native.why_not("cpu") or "available")
def test_the_platform_of_the_name_is_that_of_the_symbols(release, tmp_path):
    pytest.importorskip("auditwheel")
    members = {"bodvcl/_C.so": (native.DIRECTORY / "_C.so").read_bytes()}
    machine = native.BUILD["platform"].partition("-")[2]
    too_old = pack(tmp_path, members, f"bodvcl-1.2.3-py3-none-manylinux_2_5_{machine}.whl")
    (said,) = release.archives.tag_problems(too_old)
    assert "its name promises manylinux_2_5_" in said
    new = pack(tmp_path, members, f"bodvcl-1.2.3-py3-none-manylinux_2_99_{machine}.whl")
    assert release.archives.tag_problems(new) == []
    other = pack(tmp_path, members, "bodvcl-1.2.3-py3-none-manylinux_2_99_riscv64.whl")
    assert len(release.archives.tag_problems(other)) == 1


def outcomes(release, tmp_path: Path, uv: str) -> dict[str, tuple[str, str]]:
    """State and reason of every step, where this program stands in for uv."""
    program = tmp_path / "uv"
    program.write_text(f"#!/bin/sh\n{uv}\n")
    program.chmod(0o755)
    row = release.matrix.Row("3.12", "2.13")
    environment = release.environment.Environment(row, tmp_path / "x.whl", tmp_path / "row", str(program))
    return {found.check: (found.state, found.reason) for found in environment.run()}


def test_a_python_that_is_not_here_is_not_checked(release, tmp_path):
    found = outcomes(release, tmp_path, '[ "$1" = cache ] && echo /nowhere || exit 2')
    assert found["install"] == ("not checked", "no Python 3.12 on the PATH")
    assert found["20 steps"] == ("not checked", "there is no environment")


def test_a_failed_installation_gives_its_last_line(release, tmp_path):
    uv = 'case "$1" in pip) echo "first" >&2; echo "no torch 2.13 here" >&2; exit 1;; esac'
    found = outcomes(release, tmp_path, uv)
    state, reason = found["install"]
    assert state == "FAILED"
    assert reason.startswith("exit code 1: no torch 2.13 here (")
    assert found["native"][0] == "not checked"


def test_the_table_keeps_what_was_not_checked_apart(release):
    make = release.outcome.Outcome
    text = release.outcome.table(
        [
            make("a", "install", "passed", seconds=61),
            make("a", "20 steps", "FAILED"),
            make("b", "install", "not checked"),
        ]
    )
    assert [line.split("  ")[-1].strip() for line in text.splitlines()] == ["20 steps", "FAILED", "-"]
    assert "passed 61 s" in text
    assert "not checked" in text


def test_without_wheels_it_says_what_makes_them(tmp_path):
    command = [sys.executable, str(ROOT / ".ci/release"), "--dist", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stderr == f"release-check: {tmp_path} has no wheel or no sdist: make wheel builds them\n"
    assert done.returncode == 2


def test_files_that_are_no_archives_fail_with_a_line_each(tmp_path):
    for tool in ("auditwheel", "cyclonedx", "twine"):
        pytest.importorskip(tool, reason="needs the tools of make cluster-tools")
    programs = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    if shutil.which("uv", path=programs) is None:
        pytest.skip("needs uv")
    sdist = f"bodvcl-{bodvcl.__version__}.tar.gz"
    wheel = f"bodvcl-{bodvcl.__version__}-py3-none-manylinux_2_28_{platform.machine()}.whl"
    for name in (sdist, wheel):
        (tmp_path / name).write_text("junk")
    command = [sys.executable, str(ROOT / ".ci/release"), "--dist", str(tmp_path), "--only", "none"]
    done = subprocess.run(
        [*command, "--work", str(tmp_path / "work")],
        capture_output=True,
        text=True,
        env={**os.environ, "PATH": programs},
    )
    assert done.returncode == 1
    failed = [line.split(": ", 3)[1:] for line in done.stderr.splitlines() if line.startswith("FAILED: ")]
    checks = [(sdist, "index"), (wheel, "index"), (sdist, "members"), (wheel, "members"), (wheel, "platform")]
    assert [(subject, check) for subject, check, _ in failed] == checks
    assert "cannot be checked: ReadError: " in failed[2][2]
    assert "cannot be checked: BadZipFile: File is not a zip file" in failed[3][2]
    assert "Traceback" not in done.stderr
    others = [line for line in done.stderr.splitlines() if not line.startswith("FAILED: ")]
    assert all(line.startswith("not checked: ") for line in others)


def test_wheels_for_another_processor_alone_are_not_enough(tmp_path):
    (tmp_path / f"bodvcl-{bodvcl.__version__}-py3-none-manylinux_2_28_riscv64.whl").touch()
    (tmp_path / f"bodvcl-{bodvcl.__version__}.tar.gz").touch()
    command = [sys.executable, str(ROOT / ".ci/release"), "--dist", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stderr == f"release-check: no wheel of {tmp_path} is for {platform.machine()}\n"
    assert done.returncode == 2


def test_the_bill_has_the_wheel_as_its_root_and_the_cuda_runtime_in_it(tmp_path):
    pytest.importorskip("cyclonedx")
    sbom = load("sbom").sbom
    build = json.dumps({"cuda_compiler": "13.0.88"}).encode()
    wheel = pack(tmp_path, {"bodvcl/build.json": build, "bodvcl/_C_cuda.so": b"code"})
    part = {"type": "library", "bom-ref": "torch", "name": "torch", "version": "2.13.0"}
    own = {"type": "library", "bom-ref": "bodvcl", "name": "bodvcl", "version": "1.2.3"}
    own["externalReferences"] = [{"type": "distribution", "url": f"file://{wheel}"}]
    bom = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {},
        "components": [part, own],
        "dependencies": [{"ref": "bodvcl", "dependsOn": ["torch"]}, {"ref": "torch"}],
    }
    made = sbom.wheel_bom(bom, wheel)
    root = made["metadata"]["component"]
    assert root["hashes"][0]["content"] == hashlib.sha256(wheel.read_bytes()).hexdigest()
    assert [(inner["name"], inner["version"]) for inner in root["components"]] == [("cudart", "13.0.88")]
    assert made["components"] == [part]
    assert str(tmp_path) not in json.dumps(made)
    assert sbom.write_bom(made, tmp_path / "one.json") == []
    assert sbom.write_bom(sbom.wheel_bom(bom, wheel), tmp_path / "two.json") == []
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "two.json").read_bytes()
    (problem,) = sbom.write_bom({**made, "version": "one"}, tmp_path / "three.json")
    assert "'one' is not of type 'integer'" in problem
    assert not (tmp_path / "three.json").exists()
