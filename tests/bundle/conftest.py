"""One bundle, and an environment that it was installed in, for all tests of this folder."""

from __future__ import annotations

import subprocess
from pathlib import Path

import made_bundles
import pytest


@pytest.fixture(scope="session")
def packages(tmp_path_factory) -> Path:
    """A folder with the wheel of bodvcl and, in ``index/``, those that it needs."""
    folder = tmp_path_factory.mktemp("packages")
    made_bundles.write_packages(folder)
    return folder


@pytest.fixture
def only_packages(packages, monkeypatch) -> Path:
    """pip and uv know these packages and nothing else. Where uv is not installed, its answer is given."""
    for name, value in made_bundles.environment(packages / "index").items():
        monkeypatch.setenv(name, value)
    if not made_bundles.has_uv():
        pins = made_bundles.given_pins(packages / "index")
        monkeypatch.setattr(made_bundles.make_bundle, "resolve", lambda *_: pins)
    return packages


@pytest.fixture(scope="session")
def bundle(packages, tmp_path_factory) -> Path:
    """A whole bundle; tests that change it work on a copy."""
    out = tmp_path_factory.mktemp("made") / "bundle"
    with pytest.MonkeyPatch.context() as patch:
        for name, value in made_bundles.environment(packages / "index").items():
            patch.setenv(name, value)
        if not made_bundles.has_uv():
            pins = made_bundles.given_pins(packages / "index")
            patch.setattr(made_bundles.make_bundle, "resolve", lambda *_: pins)
        assert made_bundles.make(packages, out) == 0
    return out


@pytest.fixture(scope="session")
def installed(bundle, tmp_path_factory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """An environment made by install.sh, in a folder with a space, and what was printed.

    The user's PYTHONPATH has another bodvcl, which must not be taken for the one that was installed.
    """
    folder = tmp_path_factory.mktemp("a place") / "env"
    other = tmp_path_factory.mktemp("sources")
    (other / "bodvcl").mkdir()
    (other / "bodvcl" / "__init__.py").write_text("")
    return folder, made_bundles.install(bundle, folder, PYTHONPATH=str(other))
