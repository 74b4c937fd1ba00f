"""Rows that look alike or move alike are found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bodvcl.embed.file import About, Embeddings, read_embeddings, write_embeddings
from bodvcl.search.looks import NEEDED
from bodvcl.search.space import open_space


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Twelve videos: three looks, four movements, one video of each pair, around a large common mean."""
    rng = np.random.default_rng(0)
    look, move = np.repeat(np.eye(3, 6), 4, 0), np.tile(np.eye(4, 5), (3, 1))
    vectors = {
        "still": (10 + look + 0.01 * rng.normal(size=look.shape)).astype(np.float32),
        "dynamic": (5 + move + 0.01 * rng.normal(size=move.shape)).astype(np.float32),
    }
    about = About("0", "/run", "ab", 7, "videos", "bod", None, 3, {}, [], {"still": 6, "dynamic": 5})
    unknown = np.full(12, -1)
    rows = Embeddings(
        [f"{n}.mp4" for n in range(12)],
        np.arange(12),
        np.zeros(12),
        np.ones(12),
        unknown,
        unknown,
        {},
        vectors,
        about,
    )
    write_embeddings(tmp_path / "e.parquet", rows)
    return tmp_path / "e.parquet"


def test_by_appearance_and_by_motion_find_different_videos(file: Path) -> None:
    space = open_space(file)
    assert {hit.row for hit in space.near_row(5, 0, 3)} == {4, 6, 7}
    assert {hit.row for hit in space.near_row(5, 1, 2)} == {1, 9}
    best = space.near_row(5, 0.5, 11)
    assert {hit.row for hit in best[:5]} == {4, 6, 7, 1, 9}
    assert len(best) == 11
    assert all(hit.score == pytest.approx((hit.appearance + hit.motion) / 2) for hit in best)


def test_a_video_of_the_file_given_as_a_query_finds_itself_first(file: Path) -> None:
    space = open_space(file)
    query = space.query({kind: vectors[7] for kind, vectors in read_embeddings(file, NEEDED).vectors.items()})
    first = space.near(query, 0.5, 1)[0]
    assert first.row == 7
    assert first.score == pytest.approx(1, abs=1e-5)
