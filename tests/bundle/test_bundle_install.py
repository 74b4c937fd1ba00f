"""install.sh of a bundle: it installs without a network, and writes nothing when a check fails."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from made_bundles import PYTHON, install


@pytest.mark.slow
def test_it_installs_and_says_so(installed):
    folder, done = installed
    assert done.returncode == 0, done.stderr
    assert "bodvcl info --brief | user" in done.stdout
    assert f"installed in {folder}" in done.stdout
    code = "import bodvcl, more, torch, torchvision, cuda_part"
    subprocess.run([folder / "bin/python", "-I", "-c", code], check=True)


@pytest.mark.slow
def test_it_installs_into_an_environment_and_can_keep_its_torch(installed, bundle):
    folder, done = installed
    assert done.returncode == 0, done.stderr
    site = next(folder.glob("lib/python*/site-packages"))
    (site / "torch" / "of_the_site.py").write_text("")
    for path in (site / "small.py", site / "small-1.5.dist-info", site / "cuda_part.py"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    again = install(bundle, "--keep-torch", "--into", folder)
    assert again.returncode == 0, again.stderr
    assert (site / "small.py").exists()
    assert (site / "torch" / "of_the_site.py").exists()
    assert not (site / "cuda_part.py").exists(), "a library of the other torch"


@pytest.fixture
def copy(bundle, tmp_path) -> Path:
    return Path(shutil.copytree(bundle, tmp_path / "bundle"))


def refused(copy: Path, *arguments: str | Path, **variables: str) -> str:
    """The one line with which install.sh refuses; nothing is left in the new folder's place."""
    folder = copy.parent / "new" / "env"
    done = install(copy, *arguments, folder, **variables)
    assert done.returncode == 2
    assert not folder.parent.exists()
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("install.sh: ")
    return line


def test_a_damaged_wheel(copy):
    wheel = copy / "wheels" / "small-1.5-py3-none-any.whl"
    content = bytearray(wheel.read_bytes())
    content[len(content) // 2] ^= 1
    wheel.write_bytes(content)
    assert "missing or damaged: wheels/small-1.5-py3-none-any.whl; copy" in refused(copy)


def test_missing_files(copy):
    (copy / "wheels" / "more-0.3-py3-none-any.whl").unlink()
    (copy / "requirements.txt").unlink()
    assert "damaged: requirements.txt wheels/more-0.3-py3-none-any.whl; copy" in refused(copy)


@pytest.mark.parametrize("left", [0, 100, "README.txt", "torch.txt", "small-1.5-py3-none-any.whl"])
def test_sums_that_were_cut_off(copy, left):
    """At a number of bytes, in the middle of a line, or behind the line of a file."""
    sums = copy / "SHA256SUMS"
    text = sums.read_text()
    sums.write_text(text[:left] if isinstance(left, int) else text[: text.index(left) + len(left) + 1])
    assert "missing or damaged: SHA256SUMS" in refused(copy)


def test_without_the_program_that_checks_the_sums(copy, tmp_path):
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("dirname", "uname", "getconf", "stat", "unshare"):
        if found := shutil.which(name):
            (programs / name).symlink_to(found)
    assert "no sha256sum here" in refused(copy, "--python", sys.executable, PATH=str(programs))


@pytest.mark.parametrize(
    ("name", "answer", "told"),
    [
        ("uname", "echo riscv64", "this machine is riscv64"),
        ("getconf", "echo glibc 2.17", "needs glibc 2.28 or newer, this system has glibc 2.17"),
        ("getconf", "exit 1", "this system has another C library"),
        ("stat", "echo '512 * 4096'", "needs 100 MB, "),
        ("stat", "exit 1", "the free space of "),
        (f"python{PYTHON}", "echo cpython 3.9", f"this bundle is for CPython {PYTHON}"),
        (f"python{PYTHON}", "exit 1", "does not start"),
        (
            f"python{PYTHON}",
            f"case $* in *ensurepip*) exit 1;; esac; echo cpython {PYTHON}",
            f"python{PYTHON}-venv",
        ),
    ],
)
def test_a_machine_that_it_is_not_for(copy, tmp_path, name, answer, told):
    """A program of the system that answers as it would on another machine."""
    stand_in = tmp_path / "bin" / name
    stand_in.parent.mkdir()
    stand_in.write_text(f"#!/bin/sh\n{answer}\n")
    stand_in.chmod(0o755)
    assert told in refused(copy, PATH=f"{stand_in.parent}:{os.environ['PATH']}")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--fast"], "unknown option --fast"),
        (["other"], "one folder is expected"),
        (["--keep-torch"], "--into FOLDER"),
        (["--into"], "is not an environment"),
        (["--into", "--python", "python3"], "leave out --python"),
        (["--python", "/nowhere/python3"], "no /nowhere/python3 here"),
    ],
)
def test_wrong_options(copy, arguments, told):
    assert told in refused(copy, *arguments)


def test_a_python_by_a_relative_path_is_that_of_the_folder_of_the_caller(copy, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    stand_in = Path("python")
    stand_in.write_text(
        f"#!/bin/sh\ncase $* in *'-m venv'*) echo called; exit 1;; esac; echo cpython {PYTHON}\n"
    )
    stand_in.chmod(0o755)
    done = install(copy, "--python", "./python", "env")
    assert done.stdout.endswith("called\n"), done.stderr


def test_cdpath_does_not_matter(copy, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    copy.rename("the bundle")
    Path("the bundle/SHA256SUMS").unlink()
    done = install(Path("the bundle"), "--python", sys.executable, "env", CDPATH=str(tmp_path))
    assert done.stderr.startswith(f"install.sh: no SHA256SUMS in {tmp_path}/the bundle: ")
    assert len(done.stderr.splitlines()) == 1


def test_a_folder_in_a_file(copy, tmp_path):
    (tmp_path / "a file").touch()
    assert install(copy, tmp_path / "a file" / "env").stderr == (
        f"install.sh: {tmp_path}/a file is a file; choose another folder\n"
    )


@pytest.mark.skipif(os.getuid() != 0 or shutil.which("unshare") is None, reason="mounts a file system")
def test_a_file_system_with_a_space_in_its_name_has_free_space(copy, tmp_path):
    (tmp_path / "share").mkdir()
    (copy / "SHA256SUMS").write_text("")
    call = f"mount -t tmpfs -o size=200m '//srv/my share' share && '{copy}/install.sh' share/env"
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", call], cwd=tmp_path, capture_output=True, text=True
    )
    if "install.sh" not in done.stderr:
        pytest.skip(done.stderr)
    assert "missing or damaged" in done.stderr


def test_a_folder_that_exists(copy, tmp_path):
    (tmp_path / "here").mkdir()
    done = install(copy, tmp_path / "here")
    assert done.returncode == 2
    assert "exists; choose a new folder" in done.stderr
    assert not any((tmp_path / "here").iterdir())


@pytest.mark.slow
def test_an_installation_that_breaks_off_leaves_no_environment(copy, tmp_path):
    """The sums are right, but a wheel is not the one that requirements.txt names."""
    pins = (copy / "requirements.txt").read_text()
    (copy / "requirements.txt").write_text(pins.replace("small==1.5", "small==1.4"))
    names = [line.split("  ")[1] for line in (copy / "SHA256SUMS").read_text().splitlines()]
    sums = subprocess.run(["sha256sum", *names], cwd=copy, capture_output=True, check=True).stdout
    (copy / "SHA256SUMS").write_bytes(sums)
    done = install(copy, tmp_path / "env")
    assert done.returncode == 2
    assert "pip could not install" in done.stderr
    assert not (tmp_path / "env").exists()
