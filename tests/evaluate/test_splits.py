"""Which videos train and which test, by the names of their splits."""

from __future__ import annotations

import numpy as np
import pytest

from bodvcl.data.files.video import VideoInfo
from bodvcl.evaluate.splits import divide, label_columns


def video(split: str, **labels: str) -> VideoInfo:
    return VideoInfo(
        path=f"{split}.mp4",
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


@pytest.mark.parametrize(
    ("splits", "rows", "train"),
    [
        (["train", "test", "train"], [0, 1, 2], [True, False, True]),
        (["train", "val", "test"], [0, 2], [True, False]),
        (["validation", "train"], [0, 1], [False, True]),
        (["train", "probe_test", "probe_train", "train"], [1, 2], [False, True]),
        (["train", "test", "", "other"], [0, 1], [True, False]),
        (["Training", "TEST ", "valid"], [0, 1], [True, False]),
        (["", "other", "testing", "unused"], [0, 1, 2], [True, True, False]),
        (["trainval", "dev"], [0, 1], [True, False]),
        (["train", "train"], [0, 1], None),
        (["", ""], [0, 1], None),
        (["fold1", "fold2"], [0, 1], None),
        (["test", "test"], [0, 1], None),
    ],
)
def test_splits(splits: list[str], rows: list[int], train: list[bool] | None) -> None:
    division = divide([video(split, x="a") for split in splits], seed=7)
    assert division.rows.tolist() == rows
    assert (None if division.train is None else division.train.tolist()) == train
    if train is None:
        assert "drawn with seed 7" in division.text
    else:
        left_out = len(splits) - len(rows)
        assert ("left out" in division.text) == bool(left_out)


def test_videos_without_any_label_take_no_part() -> None:
    videos = [video("train", x="a"), video("test"), video("val", x="b"), video("test", x="")]
    division = divide(videos)
    assert division.rows.tolist() == [0, 2]
    assert division.train is not None
    assert division.train.tolist() == [True, False]
    assert "left out: 2 of test" in division.text
    assert len(divide([video("train"), video("test")]).rows) == 0


def test_others_do_not_stand_in_for_a_train_split_without_labels() -> None:
    assert divide([video("train"), video("extra", x="a"), video("test", x="b")]).train is None


def test_label_columns() -> None:
    a, b = video("train", x="1"), video("test", y="2")
    assert label_columns([a, b]) == {"x": ["1", None], "y": [None, "2"]}
