"""How rows are named: windows of long videos, and videos that are no files of this machine."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from bodvcl.embed.file import About, Embeddings
from bodvcl.search.space import Space
from bodvcl.serve.app import App
from bodvcl.serve.messages import Request
from bodvcl.serve.rows import Rows, common_folder, when


@pytest.fixture
def windows() -> Embeddings:
    """Two windows of each of three long videos."""
    rng = np.random.default_rng(0)
    vectors = {kind: rng.normal(size=(6, 4)).astype(np.float32) for kind in ("still", "dynamic")}
    about = About("0", "/run", "ab", 7, "films", "bod", 90.0, 1, {}, [], {"still": 4, "dynamic": 4})
    unknown = np.full(6, -1)
    paths = ["/films/a.mp4", "s3://films/b.mp4", "/films/c.tar/d.mp4"]
    start = np.tile([0.0, 3600.0], 3)
    return Embeddings(
        paths=[path for path in paths for _ in range(2)],
        video=np.arange(6) // 2,
        start=start,
        end=start + 90,
        size=unknown,
        modified=unknown,
        labels={},
        vectors=vectors,
        about=about,
    )


def test_a_window_has_its_time_and_the_part_that_is_played(windows):
    app = App(Space(windows), "films.parquet")

    def ask(target: str):
        return json.loads(app.respond(Request("GET", target, {})).body)

    assert ask("/api/about")["rows"] == 6
    assert ask("/api/about")["videos"] == 3
    found = ask("/api/near?row=1&motion=0.5")
    assert found["of"]["when"] == "1:00:00.0–1:01:30.0"
    assert found["of"]["part"] == "1:00:35.0–1:00:55.0"
    assert {hit["row"] for hit in found["hits"]} == {2, 3, 4, 5}
    assert {hit["row"] for hit in ask("/api/near?row=1&same=1")["hits"]} == {0, 2, 3, 4, 5}


def test_what_is_no_file_of_this_machine_is_said(windows):
    rows = Rows(windows)
    assert rows.show(0)["problem"] == "the file is no longer there"
    assert rows.show(2)["problem"] == "not a file of this machine: it cannot be shown"
    assert rows.show(4)["problem"] == "inside a tar file: it cannot be shown"
    assert not any(rows.show(row)["playable"] for row in range(6))


def test_names_begin_below_the_folder_that_all_share(windows):
    assert common_folder(["/a/bc/x.mp4", "/a/bd/y.mp4"]) == "/a/"
    assert common_folder(["/a/b/x.mp4", "/a/b/x.mp4"]) == "/a/b/"
    assert common_folder(["x.mp4", "/a/y.mp4"]) == ""
    below = Rows(replace(windows, paths=["/films/a.mp4", "/films/x/b.mp4"] * 3))
    assert [below.show(row)["name"] for row in (0, 1)] == ["a.mp4", "x/b.mp4"]


def test_times_are_written_as_a_clock_shows_them():
    assert when(0, 2) == "0:00.0–0:02.0"
    assert when(59.96, 75.5) == "1:00.0–1:15.5"
    assert when(3599.99, 3661) == "1:00:00.0–1:01:01.0"
