"""Shared fixtures: a tiny rendered data set, a folder of videos, and a short training run."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import hypothesis
import pytest
import torch
from cuda_errors import pytest_exception_interact, pytest_runtest_protocol  # noqa: F401 - hooks

from bodvcl.cli.train import main as train_main

hypothesis.settings.register_profile(
    "tests", deadline=None, derandomize=True, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("tests")
"""The same examples in every run, however slow the machine."""

TINY = [
    "--data", "shapes", "--device", "cpu", "--workers", "0", "--batch-size", "4", "--epochs", "2",
    "--seed", "1",
    "--shapes.train-videos", "12", "--shapes.probe-videos", "16", "--shapes.frames", "20", "--shapes.size",
    "32", "--clip.size", "16", "--model.width", "4", "--model.embed-dim", "12", "--model.hidden-dim", "16",
    "--log.every", "1", "--log.save-every", "2",
]  # fmt: skip
"""Options of a run of six steps that takes about a second."""


@pytest.fixture(scope="session", autouse=True)
def _own_index(tmp_path_factory) -> None:
    """Tests leave the user's index of videos alone."""
    os.environ["BODVCL_INDEX"] = str(tmp_path_factory.mktemp("index") / "videos.sqlite")


@pytest.fixture(autouse=True)
def _same_draws() -> None:
    """A test draws the same numbers whichever tests ran before it."""
    torch.manual_seed(0)


@pytest.fixture(scope="session", autouse=True)
def _interruptible() -> None:
    """Ctrl-C reaches the tests and what they start, also in a job in the background, which ignores it."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def shapes_cache(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("shapes")


@pytest.fixture(scope="session")
def tiny(shapes_cache) -> list[str]:
    """Options for a tiny run on the built-in data."""
    return [*TINY, "--shapes.cache", str(shapes_cache)]


@pytest.fixture(scope="session")
def finished_run(shapes_cache, tmp_path_factory) -> Path:
    """Folder of a finished BOD-VCL run with probe and report."""
    run = tmp_path_factory.mktemp("runs") / "finished"
    assert train_main([*TINY, "--shapes.cache", str(shapes_cache), "--run-dir", str(run)]) == 0
    return run
