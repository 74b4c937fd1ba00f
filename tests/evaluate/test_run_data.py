"""The data of a run, found again from another folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from bodvcl.errors import DataError
from bodvcl.evaluate.run_data import data_of_run

RUN = Path("runs/r")


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Where training ran, which has the data, and the current folder, which has none."""
    there, here = tmp_path / "there", tmp_path / "here"
    (there / "videos" / "a").mkdir(parents=True)
    here.mkdir()
    monkeypatch.chdir(here)
    return there, here


@pytest.mark.parametrize("prefix", ["", "class-folders:", "ucf101:", "ucf101@2:"])
def test_a_relative_path_means_what_it_meant(folders: tuple[Path, Path], prefix: str) -> None:
    there, _ = folders
    found, line = data_of_run(f"{prefix}videos", RUN, there)
    assert found == f"{prefix}{there / 'videos'}"
    assert line is not None
    assert str(there) in line
    assert "--data" in line


def test_the_data_where_training_ran_come_first(folders: tuple[Path, Path]) -> None:
    there, here = folders
    (here / "videos").mkdir()
    assert data_of_run("videos", RUN, there)[0] == str(there / "videos")
    assert data_of_run("videos", RUN, None) == ("videos", None)
    assert data_of_run("videos", RUN, here / "gone") == ("videos", None)


def test_the_same_data_need_no_words(folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    there, here = folders
    (here / "videos").symlink_to(there / "videos")
    assert data_of_run("videos", RUN, there) == ("videos", None)
    monkeypatch.chdir(there)
    assert data_of_run("videos", RUN, there) == ("videos", None)
    monkeypatch.setenv("HOME", str(there))
    for absolute in (str(there / "videos"), f"class-folders:{there / 'videos'}", "~/videos"):
        assert data_of_run(absolute, RUN, here) == (absolute, None)


@pytest.mark.parametrize("data", ["gone.csv", "/gone/list.csv", "~/gone", "class-folders:gone"])
@pytest.mark.parametrize("known", [True, False])
def test_what_is_gone_is_named_with_the_way_out(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, data: str, known: bool
) -> None:
    there, here = folders
    monkeypatch.setenv("HOME", str(here))
    with pytest.raises(DataError) as caught:
        data_of_run(data, RUN, there if known else None)
    message = str(caught.value)
    assert data.removeprefix("class-folders:") in message
    assert f"the configuration of {RUN}" in message
    assert "--data" in message
    relative = not data.startswith(("/", "~"))
    assert (str(here) in message) == relative
    assert (str(there) in message) == (relative and known)
    assert "\n" not in message
