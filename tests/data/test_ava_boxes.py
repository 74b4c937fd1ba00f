"""The file format of AVA's boxes: its meaning, that it is written as it is read, which lines are refused."""

from __future__ import annotations

import numpy as np
import pytest

from bodvcl.data.sets.ava import KeyFrame, truth_table
from bodvcl.data.sets.ava_boxes import box_file, read_box_table
from bodvcl.data.sets.ava_people import read_ava_detections
from bodvcl.errors import DataError

LINES = "film,0902,0.1,0.2,0.3,0.4,12,0.5\nfilm,0903,0,0,1,1,,0.9\nfilm,902,0.5,0.5,0.6,0.75,80,0.25\n"


def test_rows_of_a_file(tmp_path):
    path = tmp_path / "found.csv"
    path.write_text(LINES)
    table = read_box_table(path)
    assert table.keys == (("film", 902), ("film", 903))
    assert table.frames.tolist() == [0, 1, 0]
    assert table.actions.tolist() == [12, 0, 80]
    assert table.boxes[2].tolist() == [0.5, 0.5, 0.6, 0.75]
    assert table.scores.tolist() == [0.5, 0.9, 0.25]
    detections = read_ava_detections(path, 0.5)
    assert detections[("film", 902)].tolist() == [[0.1, 0.2, 0.3, 0.4, 0.5]]
    assert detections[("film", 903)].tolist() == [[0, 0, 1, 1, 0.9]]


def test_what_is_written_is_read_without_loss(tmp_path):
    rng = np.random.default_rng(0)
    frames = [KeyFrame("a", 902, np.sort(rng.random((2, 2, 2)), 1).reshape(2, 4), ((1, 80), (7,)), (0, 1))]
    table = truth_table(frames)
    assert table.actions.tolist() == [1, 80, 7]
    assert (table.boxes[0] == table.boxes[1]).all()
    (tmp_path / "x.csv").write_bytes(box_file(table))
    again = read_box_table(tmp_path / "x.csv")
    assert again.keys == table.keys
    np.testing.assert_array_equal(again.boxes, table.boxes)
    np.testing.assert_array_equal(again.actions, table.actions)


def test_excluded_key_frames_have_no_rows(tmp_path):
    (tmp_path / "x.csv").write_text(LINES)
    table = read_box_table(tmp_path / "x.csv").without({("film", 902), ("other", 903)})
    assert table.actions.tolist() == [0]
    assert table.keys[table.frames[0]] == ("film", 903)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("f,0902,0.5,0.1,0.4,0.9,12,0.5", "line 2: the box 0.5,0.1,0.4,0.9 is not possible; expected 0"),
        ("f,0902,0.5,0.1,0.5,0.9,12,0.5", "line 2: the box"),
        ("f,0902,0.5,0.1,1.2,0.9,12,0.5", "line 2: the box"),
        ("f,0902,-0.1,0.1,0.2,0.9,12,0.5", "line 2: the box"),
        ("f,0902,nan,0.1,0.2,0.9,12,0.5", "line 2: the box"),
        ("f,0902,0.1,0.1,0.2,0.9,12,nan", "line 2: the score"),
        ("f,0902,0.1,0.1,0.2,0.9,12", "line 2: cannot understand 'f,0902.*expected video,second"),
        ("f,x,0.1,0.1,0.2,0.9,12,1", "line 2: cannot understand"),
        ("f,902,0.1,0.1,0.2,0.9,sit,1", "line 2: cannot understand"),
    ],
)
def test_a_bad_line_is_named(tmp_path, line, message):
    path = tmp_path / "found.csv"
    path.write_text("f,0902,0.1,0.1,0.2,0.9,12,0.5\n" + line + "\n")
    with pytest.raises(DataError, match=f"found.csv: {message}"):
        read_box_table(path)


def test_an_empty_file_and_no_file(tmp_path):
    with pytest.raises(DataError, match=r"gone.csv: cannot be read: No such file"):
        read_box_table(tmp_path / "gone.csv")
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(DataError, match=r"empty.csv: the file is empty"):
        read_box_table(tmp_path / "empty.csv")
