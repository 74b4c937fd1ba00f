"""The tests on the releases that pyproject.toml promises: `make test-versions`.

One session an environment, each from its file in .ci/lock, in a copy of the tree, so that nothing is built
into the checkout. `one_wheel` builds a wheel with the newest PyTorch and tests it beside the oldest.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import nox

sys.path.insert(0, str(Path(__file__).resolve().parent / "wheel"))
from tree import copy_tree

ROOT = Path(__file__).resolve().parents[1]
BY_COMPILER = ("tests/kernels", "tests/native")  # slow tests that depend on the releases of the compilers

nox.options.default_venv_backend = "uv"
nox.options.reuse_existing_virtualenvs = True


def _copy(session: nox.Session) -> Path:
    """The tree as git would commit it, in a folder of the session, which becomes the working directory."""
    copy = Path(session.create_tmp()) / "tree"
    copy_tree(ROOT, copy)
    session.chdir(copy)
    return copy


def _tests(session: nox.Session, lock: str) -> None:
    _copy(session)
    session.install("--require-hashes", "-r", str(ROOT / f".ci/lock/{lock}.txt"))
    session.install("--no-deps", "--no-build-isolation", "-e", ".")
    session.run("python", "-m", "bodvcl.info", "--brief")
    if session.posargs:
        session.run("python", "-m", "pytest", *session.posargs)
        return
    session.run("python", "-m", "pytest", "-q")
    session.run("python", "-m", "pytest", "-q", "-m", "slow", *BY_COMPILER)


@nox.session(python="3.10")
def oldest(session: nox.Session) -> None:
    """The lowest releases that are promised."""
    _tests(session, "oldest")


@nox.session(python="3.12")
def gpu_image(session: nox.Session) -> None:
    """Python 3.12 with the oldest PyTorch and its Triton."""
    _tests(session, "gpu_image")


@nox.session(python="3.13")
def newest(session: nox.Session) -> None:
    """The highest releases that are promised."""
    _tests(session, "newest")


@nox.session(python="3.13")
def wheel(session: nox.Session) -> None:
    """A wheel built with the newest PyTorch, for `one_wheel`."""
    copy = _copy(session)
    session.install("--require-hashes", "-r", str(ROOT / ".ci/lock/newest.txt"))
    session.install("pip", "wheel")
    session.env["BODVCL_BUILD"] = "cpu"
    session.run("python", "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", "dist", ".")
    built = copy.parents[1] / "wheel"
    shutil.rmtree(built, ignore_errors=True)
    shutil.copytree(copy / "dist", built)


@nox.session(python="3.10", requires=["wheel"])
def one_wheel(session: nox.Session) -> None:
    """That wheel beside the oldest releases: its native operators load and are right."""
    copy = _copy(session)
    shutil.rmtree(copy / "bodvcl")  # only the installed package can be imported
    session.install("--require-hashes", "-r", str(ROOT / ".ci/lock/oldest.txt"))
    (built,) = (copy.parents[2] / "wheel" / "wheel").glob("*.whl")
    session.install("--no-deps", "--reinstall", str(built))
    session.run("python", "-c", "from bodvcl.ops import native; assert native.cpu_available(), native.STATUS")
    session.run("python", "-m", "pytest", "-q", "tests/ops", "tests/native/test_native_values.py")
