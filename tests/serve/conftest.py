"""Twelve videos and a file of their embeddings: three looks, four movements, one video of each pair."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from data.video_files import write_video

from bodvcl.embed.file import About, Embeddings, write_embeddings
from bodvcl.search.space import Space, open_space
from bodvcl.serve.app import App

GONE, BROKEN, CHANGED, AVI = 11, 10, 9, 1
"""Rows whose file was removed, is no video, has changed since, and is in a format that no browser plays."""


@pytest.fixture(scope="session")
def embedded(tmp_path_factory) -> Path:
    """A file of embeddings; its row ``4 look + move`` looks and moves like this."""
    folder = tmp_path_factory.mktemp("served")
    first = write_video(folder / "look0" / "move0.mp4", 50)
    paths = [
        folder / f"look{row // 4}" / f"move{row % 4}.{'avi' if row == AVI else 'mp4'}" for row in range(12)
    ]
    for row, path in enumerate(paths[1:], 1):
        path.parent.mkdir(exist_ok=True)
        if row == AVI:
            write_video(path, 50, codec="mpeg4")
        else:
            shutil.copy(first, path)
    paths[BROKEN].write_bytes(b"no video")
    marks = [path.stat() for path in paths]
    os.utime(paths[CHANGED], ns=(1, 1))
    paths[GONE].unlink()
    rng = np.random.default_rng(0)
    look, move = np.repeat(np.eye(3, 6), 4, 0), np.tile(np.eye(4, 5), (3, 1))
    vectors = {
        "still": (10 + look + 0.01 * rng.normal(size=look.shape)).astype(np.float32),
        "dynamic": (5 + move + 0.01 * rng.normal(size=move.shape)).astype(np.float32),
    }
    labels = ["look", "move"]
    widths = {"still": 6, "dynamic": 5}
    rows = Embeddings(
        paths=[str(path) for path in paths],
        video=np.arange(12),
        start=np.zeros(12),
        end=np.full(12, 2.0),
        size=np.array([mark.st_size for mark in marks]),
        modified=np.array([mark.st_mtime_ns for mark in marks]),
        labels={
            "look": [f"look {row // 4}" for row in range(12)],
            "move": [None if row == 0 else f"move {row % 4}" for row in range(12)],
        },
        vectors=vectors,
        about=About("0", "/run", "ab", 7, str(folder), "bod", None, 3, {}, labels, widths),
    )
    write_embeddings(folder / "e.parquet", rows)
    return folder / "e.parquet"


@pytest.fixture(scope="session")
def space(embedded: Path) -> Space:
    return open_space(embedded)


@pytest.fixture(scope="session")
def app(space: Space) -> Iterator[App]:
    app = App(space, "e.parquet")
    yield app
    app.close()
