"""Which columns are labels: decided without looking at a video."""

from __future__ import annotations

import datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bodvcl.data.files.video import VideoInfo
from bodvcl.evaluate.columns import choose_labels, impossible, look_alikes, unlike_label
from bodvcl.evaluate.labels import class_name, class_task, halves
from bodvcl.text.words import plain


def video(split: str, labels: dict[str, str]) -> VideoInfo:
    return VideoInfo(
        path="a.mp4",
        frames=10,
        fps=25.0,
        width=8,
        height=8,
        rotation=0,
        codec="h264",
        duration=0.4,
        sequential=False,
        time_base=0.04,
        first_pts=0,
        pts_step=1,
        pts=None,
        keyframes=np.array([0]),
        labels=labels,
        split=split,
    )


CELLS = st.one_of(
    st.sampled_from(["a", "b", "c", "", "  ", "1", "2", "1.5", "2024-01-01", "2024-01-02"]),
    st.integers(0, 9).map(str),
    st.floats(0, 9).map(str),
    st.text(max_size=5),
)
ROWS = st.lists(
    st.tuples(st.sampled_from(["train", "test", "val", ""]), st.tuples(CELLS, CELLS, CELLS)), max_size=24
)
NAMES = ("x", "y", "z")


@given(ROWS, st.booleans(), st.sets(st.sampled_from(NAMES)), st.integers(0, 3))
def test_every_column_is_probed_or_left_out_with_a_reason(rows, splits: bool, wanted: set, seed: int) -> None:
    videos = [video(split if splits else "", dict(zip(NAMES, cells))) for split, cells in rows]
    choice = choose_labels(videos, sorted(wanted), seed)
    considered = set(wanted or NAMES) if videos else set()
    assert choice.labels.keys() | choice.left_out.keys() == considered
    assert not choice.labels.keys() & choice.left_out.keys()
    assert all(choice.left_out.values())
    rows_kept, train = choice.division.rows, choice.division.train
    for name, values in choice.labels.items():
        assert values == [videos[row].labels[name] for row in rows_kept]
        part = halves(values, seed) if train is None else train
        trained, tested = ([values[i] for i in np.flatnonzero(p)] for p in (part, ~part))
        task = class_task(trained, tested)
        assert task.skipped is None
        assert len(task.names) >= 2
        if train is not None:  # no video to test on is left out
            assert len(task.test) == sum(class_name(value) is not None for value in tested)


@given(st.lists(st.sampled_from("abc"), min_size=12, max_size=40), st.randoms())
def test_a_column_of_classes_is_a_label_whatever_stands_beside_it(classes: list[str], random) -> None:
    """Each class has two videos of either split, so nothing speaks against it."""
    labels = [*"aabbcc", *classes]
    both = [("train", name) for name in labels] + [("test", name) for name in labels]
    random.shuffle(both)
    videos = [
        video(split, {"id": str(n), "seconds": f"{n % 5}.5", "label": name, "note": ""})
        for n, (split, name) in enumerate(both)
    ]
    choice = choose_labels(videos)
    assert choice.labels.keys() == {"label"}
    assert choice.left_out.keys() == {"id", "seconds", "note"}
    assert choice.division.train is not None


@given(st.lists(st.text(min_size=1).filter(str.strip), min_size=2, max_size=30, unique_by=class_name))
def test_a_value_of_its_own_for_each_video_is_no_label(values: list[str]) -> None:
    assert unlike_label(values) == f"each of {len(values)} videos has a value of its own"
    assert impossible(values, None) is not None


@given(st.lists(st.floats(0.1, 0.9).map(lambda v: round(v, 3)), min_size=1, max_size=20, unique=True))
def test_fractions_are_a_measurement_and_whole_numbers_are_not(numbers: list[float]) -> None:
    columns = {
        "seconds": [*(str(v) for v in numbers), "1"] * 3,
        "classes": [str(n) for n in range(len(numbers) + 1)] * 3,
        "read as floats": [f"{n}.0" for n in range(len(numbers) + 1)] * 3,
    }
    assert "look like a measurement" in unlike_label(columns["seconds"])
    assert unlike_label(columns["classes"]) is None
    assert unlike_label(columns["read as floats"]) is None


FORMS = ("%Y-%m-%d", "%d.%m.%Y", "%Y/%m/%d 12:30", "%Y-%m-%dT01:02:03Z")
DAYS = st.dates(datetime.date(1990, 1, 1), datetime.date(2040, 1, 1))


@given(st.lists(DAYS, min_size=2, max_size=9, unique=True), st.sampled_from(FORMS))
def test_dates_are_no_labels(days: list[datetime.date], form: str) -> None:
    dates = [day.strftime(form) for day in days]
    assert unlike_label(dates * 3) == f"dates or times, such as {plain(dates[0])}"
    assert unlike_label([*dates, "indoors"] * 3) is None


def test_an_unlikely_column_is_probed_where_it_was_asked_for() -> None:
    videos = [video("", {"seconds": f"{n % 2}.5", "label": "ab"[n % 2]}) for n in range(12)]
    assert choose_labels(videos).labels.keys() == {"label"}
    assert choose_labels(videos, ["seconds"]).labels.keys() == {"seconds"}


def test_a_column_that_is_no_label_does_not_choose_the_split() -> None:
    """The videos named test have an id, but no label; those named val have one."""
    videos = [
        video(split, {"id": f"{split}{n}", "label": "" if split == "test" else "ab"[n % 2]})
        for split in ("train", "val", "test")
        for n in range(6)
    ]
    choice = choose_labels(videos)
    assert choice.labels.keys() == {"label"}
    assert "val (6 videos) tests; left out: 6 of test" in choice.division.text


@pytest.mark.parametrize(
    ("values", "groups"),
    [
        (["1", "1.0", "01", "2"], [["01", "1", "1.0"]]),
        (["Walk", "walk", " walk ", "run"], [["Walk", "walk"]]),
        (["jump rope", "jump  rope", "jump_rope"], [["jump  rope", "jump rope", "jump_rope"]]),
        (["a", "b", None, ""], []),
        (["-1", "1", "nan", "inf"], []),
    ],
)
def test_classes_that_are_written_alike(values: list, groups: list[list[str]]) -> None:
    assert look_alikes(values) == groups


@given(st.lists(st.text(max_size=4)))
def test_written_alike_are_only_different_classes(values: list[str]) -> None:
    classes = {name for value in values if (name := class_name(value)) is not None}
    found = [name for group in look_alikes(values) for name in group]
    assert len(found) == len(set(found))
    assert set(found) <= classes
