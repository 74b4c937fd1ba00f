"""Lists as people and programs write them: what cannot be used as it is, is said or refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bodvcl.data.sets import open_dataset
from bodvcl.data.sets.csv_list import read_csv_list
from bodvcl.errors import DataError

ROWS = [["a.mp4", "train", "x"], ["b.mp4", "test", "y, z"], ["c.mp4", "train", "two\nlines"]]


def told(path: Path) -> list[list[str]]:
    """Path below the list, split and label of every row."""
    return [
        [str(Path(row.path).relative_to(path.parent)), row.split, row.labels["label"]]
        for row in open_dataset(path).rows
    ]


@given(
    separator=st.sampled_from(",;\t|"),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    mark=st.sampled_from(["", "\ufeff"]),
    path=st.sampled_from(["path", "Path", " PATH "]),
    split=st.sampled_from(["split", "Split", "SPLIT ", "subset", "Partition"]),
    names=st.sampled_from([("train", "test"), ("Train", "Test"), ("training", "testing"), ("TRN ", " eval")]),
    surplus=st.lists(st.sampled_from(["", " "]), max_size=3),
    blank=st.booleans(),
    order=st.permutations([0, 1, 2]),
)
def test_however_a_list_is_written_its_rows_are_the_same(
    tmp_path_factory, separator, end, mark, path, split, names, surplus, blank, order
):
    table = [[path, split, "label"], *([row[0], names[row[1] == "test"], row[2]] for row in ROWS)]

    def line(cells: list[str]) -> str:
        written = [f'"{cell}"' if set(cell) & set(",\n") else cell for cell in cells]
        return separator.join([*(written[place] for place in order), *surplus]) + end

    file = tmp_path_factory.mktemp("list") / "list.csv"
    text = mark + "".join(map(line, table)) + (separator * 2 + end + end if blank else "")
    file.write_bytes(text.encode())
    assert told(file) == ROWS
    notes = "\n".join(open_dataset(file).notes)
    assert ("separated by" in notes) == (separator != ",")
    assert ("is used as the split" in notes) == (split.strip().lower() != "split")
    assert ("'" + names[0].strip() + "' is train" in notes) == (names[0].strip() != "train")


def test_a_column_without_a_name_is_said(tmp_path):
    (tmp_path / "list.csv").write_text(",path,label\n0,a.mp4,x\n1,b.mp4,y\n")
    found = open_dataset(tmp_path / "list.csv")
    assert [dict(row.labels) for row in found.rows] == [{"label": "x"}, {"label": "y"}]
    assert found.notes == ["column 1 of the list has no name and is left out; name it to use it as a label"]


@pytest.mark.parametrize(
    "content", ["path,label,\na.mp4,x,\n", "path,label,\na.mp4,x\n", "path,label\na.mp4,x,,\n"]
)
def test_commas_at_the_end_are_nothing(tmp_path, content):
    (tmp_path / "list.csv").write_text(content)
    found = open_dataset(tmp_path / "list.csv")
    assert [dict(row.labels) for row in found.rows] == [{"label": "x"}]
    assert found.notes == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("path,label,label\na.mp4,x,y\n", "'label' names more than one column"),
        ("path,label, label \na.mp4,x,y\n", "'label' names more than one column"),
        ("path,Path\na.mp4,b.mp4\n", "'path' names more than one column"),
        ("path,split,Split\na.mp4,train,test\n", "'split' names more than one column"),
        (
            "path,subset,phase\na.mp4,train,test\nb.mp4,test,train\n",
            "subset and phase contain names of splits",
        ),
        ("path,label\na.mp4\n", "row 2 does not have the 2 columns of its first line; it has 1 cell$"),
        (
            "path,label\n\na.mp4,x\nb.mp4,y,z\n",
            "row 4 does not have the 2 columns of its first line; it has 3",
        ),
        ("path,label\n,x\n", "row 2 names no file"),
        ("path,label\na\0b.mp4,x\n", "zero byte|NUL"),
        ('path,label\n"a.mp4,x\n', "cannot be read as a list of videos: unexpected end"),
        ("\n\n", "no column named path in its first line .empty file"),
    ],
)
def test_what_is_refused(tmp_path, content, message):
    (tmp_path / "list.csv").write_text(content)
    with pytest.raises(DataError, match=message) as caught:
        read_csv_list(tmp_path / "list.csv")
    assert "\n" not in str(caught.value)


def test_another_encoding_is_refused_with_the_way_out(tmp_path):
    (tmp_path / "list.csv").write_bytes("path,label\na.mp4,\xe4\n".encode("latin-1"))
    with pytest.raises(DataError, match="save it as UTF-8"):
        read_csv_list(tmp_path / "list.csv")


def test_blanks_around_a_path_are_its_own_only_where_such_a_file_is_there(tmp_path):
    (tmp_path / " a.mp4").write_bytes(b"")
    (tmp_path / "list.csv").write_text("path\n a.mp4\n b.mp4 \n")
    assert [Path(row.path).name for row in read_csv_list(tmp_path / "list.csv").rows] == [" a.mp4", "b.mp4"]


@pytest.mark.parametrize("column", ["subset", "Set", "data_split", "Partition"])
def test_a_column_like_the_split_is_one_also_without_videos_to_train_on(tmp_path, column):
    (tmp_path / "list.csv").write_text(f"path,{column},label\na.mp4,Test,x\nb.mp4,extra,y\n")
    found = open_dataset(tmp_path / "list.csv")
    assert [row.split for row in found.rows] == ["test", "extra"]
    assert found.notes[0] == f"the column {column!r} contains names of splits: it is used as the split"
    (tmp_path / "list.csv").write_text(f"path,{column}\na.mp4,red\nb.mp4,blue\n")
    assert [row.split for row in open_dataset(tmp_path / "list.csv").rows] == ["", ""]


def test_a_label_column_is_not_taken_for_the_split(tmp_path):
    (tmp_path / "list.csv").write_text("path,vehicle,exam\na.mp4,train,test\nb.mp4,bus,test\n")
    found = open_dataset(tmp_path / "list.csv")
    assert [row.split for row in found.rows] == ["", ""]
    assert set(found.classes) == {"vehicle", "exam"}
