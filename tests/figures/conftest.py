"""Two short runs on the same built-in data, with a checkpoint of every epoch."""

from __future__ import annotations

from pathlib import Path

import pytest

from bodvcl.cli.train import main as train_main


@pytest.fixture(scope="session")
def kept_runs(tiny: list[str], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Folders of a plain run and of a BOD-VCL run of six steps, three per epoch."""
    folders = []
    for name, options in (("plain", ["--decouple", "none"]), ("bod", [])):
        folder = tmp_path_factory.mktemp("kept") / name
        always = ["--log.keep-every", "1", "--log.no-probe", "--log.no-report", "--run-dir", str(folder)]
        assert train_main([*tiny, *always, *options]) == 0
        folders.append(folder)
    return folders
