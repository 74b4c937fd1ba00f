"""Which row a user means."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from made_embeddings import looks_and_movements

from bodvcl.embed.file import Embeddings
from bodvcl.errors import ConfigError, DataError
from bodvcl.search.asked import asked_video


@pytest.fixture
def rows(tmp_path: Path) -> Embeddings:
    """Six videos of two windows each, of which five are on the disk."""
    names = ["a/one.mp4", "b/one.mp4", "a/two@3.mp4", "a/two.mp4", "a/three.mp4", "a/gone.mp4"]
    for name in names[:5]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    paths = [str(tmp_path / name) for name in names for _ in range(2)]
    return looks_and_movements(paths=paths, video=[row // 2 for row in range(12)], window=2.0)


def test_a_row_is_named_by_its_path_or_the_end_of_it(
    rows: Embeddings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.symlink(tmp_path / "a", tmp_path / "link")
    monkeypatch.chdir(tmp_path / "b")
    for name in (
        f"{tmp_path}/a/three.mp4",
        "three.mp4",
        "a/three.mp4",
        "../a/three.mp4",
        "../link/three.mp4",
    ):
        assert asked_video(rows, name).video == 4, name
    assert asked_video(rows, "one.mp4").video == 1, "a file of the current folder"
    assert asked_video(rows, "gone.mp4").video == 5


def test_a_second_chooses_the_window(rows: Embeddings) -> None:
    assert asked_video(rows, "three.mp4@0.5").row == 8
    assert asked_video(rows, "three.mp4@2.5").row == 9
    assert asked_video(rows, "three.mp4").row == 8
    assert asked_video(rows, "two@3.mp4").video == 2
    assert asked_video(rows, "two@3.mp4@2.5").row == 5
    assert asked_video(rows, "two.mp4@3").row == 7
    with pytest.raises(DataError, match=r"its last row ends at 4\.00 s"):
        asked_video(rows, "three.mp4@4")
    with pytest.raises(ConfigError, match="0 seconds or more"):
        asked_video(rows, "three.mp4@-1")


def test_a_second_of_a_whole_video_is_a_moment_that_is_no_row() -> None:
    asked = asked_video(looks_and_movements(), "/videos/3.mp4@1.5")
    assert asked == ("/videos/3.mp4", None, 3, 1.5)
    with pytest.raises(DataError, match=r"its last row ends at 2\.00 s"):
        asked_video(looks_and_movements(), "/videos/3.mp4@2")


def test_a_file_that_is_no_row_is_outside(
    rows: Embeddings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "three.mp4").touch()
    monkeypatch.chdir(tmp_path)
    assert asked_video(rows, "three.mp4@1.5") == ("three.mp4", None, None, 1.5)


def test_an_ambiguous_and_an_unknown_name_are_refused(rows: Embeddings, tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=rf"2 videos.*{tmp_path}/a/one\.mp4, {tmp_path}/b/one\.mp4; give more"
    ):
        asked_video(rows, "one.mp4")
    with pytest.raises(DataError, match=r"no such video.*did you mean three\.mp4"):
        asked_video(rows, "thre.mp4")
