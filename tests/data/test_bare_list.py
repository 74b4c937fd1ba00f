"""Lists without column names are recognised surely, or refused with the forms that are known."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from PIL import Image

from bodvcl.cli.data import main as data_main
from bodvcl.data.sets import open_dataset
from bodvcl.errors import DataError


@pytest.fixture
def place(tmp_path, good_video) -> Path:
    for name in ("a.mp4", "my video.mp4", "b, c.mp4"):
        shutil.copy(good_video, tmp_path / name)
    for name in ("frames 1", "f2"):
        (tmp_path / name).mkdir()
        for number in range(3):
            Image.new("RGB", (32, 32), (number, len(name), 0)).save(tmp_path / name / f"{number}.png")
    return tmp_path


def told(place: Path, text: str, name: str = "list.csv") -> list[tuple[str, str | None]]:
    (place / name).write_bytes(text.encode())
    rows = open_dataset(place / name).rows
    return [(os.path.relpath(row.path, place), row.labels.get("label")) for row in rows]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("name", ["list.csv", "list.txt", "train.TSV"])
@pytest.mark.parametrize(
    ("lines", "rows"),
    [
        (
            ["a.mp4 3", "my video.mp4  10", "", "gone.mp4 3"],
            [("a.mp4", "3"), ("my video.mp4", "10"), ("gone.mp4", "3")],
        ),
        (["my video.mp4,x", 'a.mp4,"y"'], [("my video.mp4", "x"), ("a.mp4", "y")]),
        (['"b, c.mp4",x', "a.mp4,riding a bike"], [("b, c.mp4", "x"), ("a.mp4", "riding a bike")]),
        (["b, c.mp4,x"], [("b, c.mp4", "x")]),
        (["a.mp4;x"], [("a.mp4", "x")]),
        (["a.mp4\tx y"], [("a.mp4", "x y")]),
        (["frames 1 120 3", "f2 95 17"], [("frames 1", "3"), ("f2", "17")]),
        (["f2 3", "frames 1 4"], [("f2", "3"), ("frames 1", "4")]),
        (["f2,95,17"], [("f2", "17")]),
        (["my video.mp4", "a.mp4"], [("my video.mp4", None), ("a.mp4", None)]),
        (["a.mp4 3", "a.mp4 3"], [("a.mp4", "3"), ("a.mp4", "3")]),
    ],
)
def test_forms(place, lines, rows, name, mark, end):
    assert told(place, mark + end.join(lines) + end, name) == rows
    assert "no line of column names: each line is a" in open_dataset(place / name).notes[0]


def test_paths_may_be_absolute_and_numbers_are_ordered_as_numbers(place):
    told(place, "".join(f"{place}/a.mp4 {n}\n" for n in (10, 2, 0, 2)))
    found = open_dataset(place / "list.csv")
    assert found.classes == {"label": ("0", "2", "10")}
    assert found.splits == {""}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gone.mp4 3\na.mp4 3\n", r"no column named path in its first line .*`videos/a.mp4 3`"),
        ("file label\na.mp4 3\n", "no column named path in its first line"),
        ("a.mp4 riding a bike\n", "no column named path in its first line"),
        ("a.mp4 3\nb.mp4\n", r"line 2 is 'b.mp4'; expected a path and a label, separated by spaces"),
        ("a.mp4,3\nb.mp4,\n", r"line 2 is 'b.mp4,'; expected a path and a label, separated by commas"),
        ("f2 3 1\nf2 x 1\n", "line 2: 'x' is not a number of images"),
    ],
)
def test_what_is_refused(place, text, message, capsys):
    with pytest.raises(DataError, match=message):
        told(place, text)
    assert data_main(["scan", str(place / "list.csv"), "--workers", "0"]) == 2
    assert "\n" not in capsys.readouterr().err.strip()


def test_names_come_first(place):
    """A list with names is read as before, although its first line could be a file."""
    (place / "path").touch()
    assert told(place, "path,label\na.mp4,x\n") == [("a.mp4", "x")]


def test_scan_and_copy(place, capsys):
    told(place, "frames 1 120 3\ngone 3 1\n", "list.txt")
    assert data_main(["scan", str(place / "list.txt"), "--workers", "0"]) == 0
    said = capsys.readouterr().out
    assert "each line is a folder, its number of images and a label, separated by spaces" in said
    assert "gone: no such file" in said
    assert data_main(["transcode", str(place / "list.txt"), str(place / "copy"), "--workers", "0"]) == 0
    rows = open_dataset(place / "copy" / "list.txt").rows
    assert [(Path(row.path).name, dict(row.labels)) for row in rows] == [("frames 1.mp4", {"label": "3"})]
