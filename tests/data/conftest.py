"""Videos that several tests share."""

from __future__ import annotations

from pathlib import Path

import pytest
from video_files import write_video

from bodvcl.config.schema import ShapesConfig
from bodvcl.data.made import shapes


@pytest.fixture(scope="session")
def good_video(tmp_path_factory) -> Path:
    """Fifty frames of H.264 in .mp4."""
    return write_video(tmp_path_factory.mktemp("video") / "good.mp4")


@pytest.fixture(scope="session")
def video_folder(tmp_path_factory) -> Path:
    """Twelve good videos of different lengths in nested folders."""
    folder = tmp_path_factory.mktemp("folder")
    for number in range(12):
        write_video(folder / f"part{number % 3}" / f"clip {number:02d}.mp4", 30 + number)
    return folder


@pytest.fixture(scope="session")
def shapes_list(tmp_path_factory) -> Path:
    """labels.csv of a small built-in data set."""
    config = ShapesConfig(
        cache=tmp_path_factory.mktemp("shapes"), train_videos=16, probe_videos=16, frames=20, size=32
    )
    return shapes.prepare(config, workers=2, progress=False)
