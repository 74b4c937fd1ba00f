"""An index of many videos is opened without making an object of each."""

from __future__ import annotations

import tracemalloc

import pytest

pytest.importorskip("pyarrow")

from bench.index import measure, write_index
from bodvcl.data.files.tars.table import VideoTable

VIDEOS = 120_000


def test_opening_an_index_takes_little_memory(tmp_path):
    file = tmp_path / "index.arrow"
    write_index(file, VIDEOS)
    tracemalloc.start()
    table = VideoTable(file)
    assert len(table) == VIDEOS
    assert table[VIDEOS - 1].path == "/data/train-000119.tar/0000119999.mp4"
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 10 * VIDEOS  # bytes: an object of each video would take a thousand


def test_every_part_of_the_measurement_runs(tmp_path):
    file = tmp_path / "index.arrow"
    write_index(file, 1000)
    assert len([*measure(file, 1)]) == 8
