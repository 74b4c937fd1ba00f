"""Which videos train, validate and test; classes and targets; what is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bodvcl.data.sets import VideoRow
from bodvcl.data.sets.spans import Shown, Span
from bodvcl.errors import ConfigError, DataError
from bodvcl.finetune.folds import fold_data
from bodvcl.finetune.options import FinetuneOptions, ViewOptions
from bodvcl.finetune.videos import assign


def rows(**splits):
    """``train="aab"``: three training videos of the classes a, a, b; - is no label."""
    return [
        VideoRow(f"{split}{n}.mp4", split, {} if name == "-" else {"action": name})
        for split, names in splits.items()
        for n, name in enumerate(names)
    ]


def options(**changed):
    return FinetuneOptions(**({"checkpoint": "scratch", "data": "list.csv"} | changed))


def found(videos, official=(), **changed):
    said = []
    made = assign(videos, {"action": official} if official else {}, options(**changed), said.append)
    return made, "\n".join(said)


def test_val_validates_test_tests():
    made, said = found(rows(train="aabb", val="ab", test="ba"))
    assert [len(made.train), len(made.val), len(made.test)] == [4, 2, 2]
    assert made.labels.classes == ("a", "b")
    assert made.labels.targets(made.test).tolist() == [1, 0]
    assert "2 videos of the val split validate" in said


def test_without_val_a_share_of_each_class_of_train_validates_and_never_test():
    made, said = found(rows(train="a" * 20 + "b" * 10 + "c" * 3, test="abc"))
    assert sorted(v.labels["action"] for v in made.val) == ["a", "a", "b"]
    assert len(made.train) == 30
    assert not {v.path for v in made.val} & {v.path for v in (*made.train, *made.test)}
    assert "3 training videos validate and do not train" in said
    again, _ = found(rows(train="a" * 20 + "b" * 10 + "c" * 3, test="abc"))
    assert [v.path for v in again.val] == [v.path for v in made.val]
    none, said = found(rows(train="aabb", test="ab"), hold_out=0.0)
    assert not none.val
    assert len(none.train) == 4
    assert "no validation" in said


def test_val_tests_where_test_has_no_labels_or_it_is_asked_for():
    made, _ = found(rows(train="aabb", val="ab", test="--"), hold_out=0.0)
    assert {v.split for v in made.test} == {"val"}
    assert not made.val
    made, _ = found(rows(train="aabb", val="ab", test="ab"), test=ViewOptions(split="val"), hold_out=0.0)
    assert {v.split for v in made.test} == {"val"}


def test_videos_without_a_label_are_left_out_and_counted():
    made, said = found(rows(train="aabb--", test="ab"))
    assert len(made.train) == 4
    assert "left out of the training, because they have no label: 2 videos" in said


def test_parts_that_overlap_with_held_out_ones_do_not_train():
    """Each part overlaps with the next one of its file; what is held out is not seen in training."""
    train = [
        VideoRow(f"{name}.mp4", "train", {"action": name}, span=Span(name, n, n + 1.5))
        for name in "ab"
        for n in range(10)
    ]
    made, said = found([*train, *rows(test="ab")], hold_out=0.2)
    assert len(made.val) == 4
    shown = Shown(made.val)
    assert all(shown.also(video) is None for video in made.train)
    dropped = 16 - len(made.train)
    assert dropped > 0
    assert f"left out of the training, because they overlap with these: {dropped} videos" in said


def test_the_official_order_of_classes():
    made, _ = found(rows(train="abc", test="a"), official=("c", "never", "a", "b"))
    assert made.labels.classes == ("c", "a", "b")


def test_several_labels_of_a_video():
    videos = [
        VideoRow("1.mp4", "train", {"action": "run;jump"}),
        VideoRow("2.mp4", "train", {"action": " jump ; "}),
        VideoRow("3.mp4", "test", {"action": "run"}),
    ]
    made, said = found(videos, multi_label=True, hold_out=0.0)
    assert made.labels.classes == ("jump", "run")
    assert made.labels.targets(made.train).tolist() == [[1, 1], [1, 0]]
    assert "label action can have several classes: ';' separates classes in 2 of 3 cells" in said
    bars = [replace(video, labels={"action": video.labels["action"].replace(";", "|")}) for video in videos]
    other, _ = found(bars, multi_label=True, hold_out=0.0)
    assert other.labels.classes == made.labels.classes
    whole = [video for video in bars if video.split == "train"]
    _, told = found([*whole, replace(whole[0], path="4.mp4", split="test")], hold_out=0.0)
    assert "each counts as one class; if they hold several, add --multi-label" in told


@pytest.mark.parametrize(
    ("videos", "changed", "said"),
    [
        (rows(train="aabb"), {}, "no labelled video is in a split test or val"),
        (rows(train="--", test="ab"), {}, "no labelled video is in a split train"),
        (rows(train="aabb", val="ab"), {"test": ViewOptions(split="test")}, "is in a split test:"),
        (rows(train="aabb", test="abxyzw"), {}, "w, x, y and 1 more can only be found among"),
        (rows(train="aaaa", test="a"), {}, "all training videos have the same label"),
        ([VideoRow("1.mp4", "train")], {}, "no video has a label"),
    ],
)  # fmt: skip
def test_what_cannot_be_learned_is_refused(videos, changed, said):
    with pytest.raises(DataError, match=said):
        found(videos, **changed)


def test_the_label_column():
    videos = [
        VideoRow(f"{n}.mp4", "train" if n < 8 else "test", {"action": "ab"[n % 2], "scene": "xyz"[n % 3]})
        for n in range(12)
    ]
    with pytest.raises(ConfigError, match=r"choose one \(there are: action, scene"):
        found(videos)
    with pytest.raises(ConfigError, match=r"--label scenes: no such column \(did you mean scene\?\)"):
        found(videos, label="scenes")
    assert found(videos, label="scene")[0].labels.classes == ("x", "y", "z")
    numbered = [VideoRow(v.path, v.split, {"action": v.labels["action"], "take": v.path}) for v in videos]
    assert found(numbered)[0].labels.column == "action"


def test_folds():
    assert fold_data("ucf101:/data", ()) == {}
    assert fold_data("list.csv", ()) == {}
    assert fold_data("ucf101@all:/data", ()) == {n: f"ucf101@{n}:/data" for n in (1, 2, 3)}
    assert fold_data("hmdb51:/data", (1, 3, 1)) == {1: "hmdb51@1:/data", 3: "hmdb51@3:/data"}
    for data, folds, said in (
        ("ssv2@all:/data", (), "has one official split"),
        ("list.csv", (1, 2), "--folds 1 2: list.csv has no official splits"),
        ("ucf101:/data", (4,), "UCF101 has the splits 1 to 3"),
    ):
        with pytest.raises(ConfigError, match=said):
            fold_data(data, folds)


def test_so_many_videos_train_of_every_class_the_same_number():
    """20 of a, 10 of b, 3 of c: twelve are 4, 4 and 4, as far as there are so many."""
    videos = rows(train="a" * 20 + "b" * 10 + "c" * 3, test="abc")
    made, said = found(videos, hold_out=0.0, train_videos=12)
    counts = {name: sum(v.labels["action"] == name for v in made.train) for name in "abc"}
    assert sorted(counts.values()) == [3, 4, 5]
    assert counts["c"] == 3
    assert len({v.path for v in made.train}) == 12
    assert "12 videos of them train (--train-videos)" in said
    again, _ = found(videos, hold_out=0.0, train_videos=12)
    other, _ = found(videos, hold_out=0.0, train_videos=12, seed=1)
    assert again.train == made.train
    assert other.train != made.train
    assert other.test == made.test
    fewer, _ = found(videos, hold_out=0.0, train_videos=6)
    assert {v.path for v in fewer.train} < {v.path for v in made.train}
    held, _ = found(videos, train_videos=12)
    assert not {v.path for v in held.val} & {v.path for v in held.train}


@pytest.mark.parametrize(
    ("count", "message"), [(34, "34: only 33 videos can train"), (2, "2: there are 3 classes, each needs a")]
)
def test_more_videos_than_there_are_or_fewer_than_classes_are_refused(count, message):
    with pytest.raises(ConfigError, match=f"--train-videos {message}"):
        found(rows(train="a" * 20 + "b" * 10 + "c" * 3, test="abc"), hold_out=0.0, train_videos=count)
