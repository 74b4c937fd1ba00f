"""Every data set from a miniature of its official layout: splits, labels, class order, what is missing."""

from __future__ import annotations

import os
import pickle
from collections import Counter
from pathlib import Path

import layouts
import numpy as np
import pytest
from video_files import write_video

from bodvcl.cli.main import main
from bodvcl.config.schema import ClipConfig, DigitsConfig, ScenesConfig, ShapesConfig
from bodvcl.data.files.scan import scan
from bodvcl.data.sets import DATA_SETS, BuiltInSettings, DataSet, built_in, open_dataset
from bodvcl.data.sets.ava import ava_frames, read_ava_actions, read_ava_keyframes
from bodvcl.data.sets.ava_people import read_ava_detections
from bodvcl.data.sets.rows import Segment
from bodvcl.errors import ConfigError, DataError

SHORT = ClipConfig(frames=4, stride=1)


@pytest.fixture(scope="session")
def tiny_video(tmp_path_factory) -> Path:
    """Fifty frames, 25 frames a second."""
    return write_video(tmp_path_factory.mktemp("tiny") / "tiny.mp4", 50, size=(32, 80))


def told(found, split=None) -> list[tuple[str, str, str]]:
    """(file name without extension, split, label) of every row."""
    return [
        (Path(row.path).stem, row.split, row.labels.get("label", ""))
        for row in found.rows
        if split in (None, row.split)
    ]


def test_ucf101_has_the_official_class_order_and_three_splits(tmp_path, tiny_video):
    root = layouts.ucf101(tmp_path / "UCF101", tiny_video)
    found = open_dataset(f"ucf101:{root}")
    assert found.classes["label"] == ("Hammering", "HammerThrow", "HandstandPushups")
    assert found.classes["label"] != tuple(sorted(found.classes["label"]))
    assert told(found) == [
        ("v_Hammering_g08_c01", "train", "Hammering"),
        ("v_HammerThrow_g08_c01", "train", "HammerThrow"),
        ("v_HandStandPushups_g08_c01", "train", "HandstandPushups"),
        ("v_Hammering_g01_c01", "test", "Hammering"),
        ("v_HammerThrow_g01_c01", "test", "HammerThrow"),
        ("v_HandStandPushups_g01_c01", "test", "HandstandPushups"),
    ]
    assert found.missing == []
    assert found.flip_allowed
    assert (found.name, open_dataset(f"ucf101@2:{root}").name) == ("ucf101@1", "ucf101@2")
    assert told(open_dataset(f"ucf101@2:{root}"), "train") == [
        (name.replace("g08", "g01"), split, label) for name, split, label in told(found, "train")
    ]
    with pytest.raises(DataError, match="UCF101 has 3 official splits, got @4"):
        open_dataset(f"ucf101@4:{root}")


def test_ucf101_whose_list_and_class_numbers_disagree_is_refused(tmp_path, tiny_video):
    root = layouts.ucf101(tmp_path, tiny_video)
    path = root / "ucfTrainTestlist" / "trainlist01.txt"
    path.write_text(path.read_text().replace(" 36", " 35"))
    with pytest.raises(DataError, match=r"trainlist01.txt: cannot understand .*HammerThrow.* 35"):
        open_dataset(f"ucf101:{root}")


def test_hmdb51_reads_the_tags(tmp_path, tiny_video):
    root = layouts.hmdb51(tmp_path, tiny_video)
    odd, other = "A#1 (x)_smile_h_nm_np1_fr_goo_0", "b;c!&_smile_h_nm_np1_fr_goo_1"
    found = open_dataset(f"hmdb51:{root}")
    assert found.classes["label"] == ("chew", "smile")
    assert told(found) == [
        (odd, "train", "chew"),
        ("chew_2", "test", "chew"),
        (odd, "train", "smile"),
        (other, "test", "smile"),
    ]
    assert [Path(row.path).parent.name for row in found.rows] == ["chew", "chew", "smile", "smile"]
    assert found.missing == ["smile/gone_smile_2.avi"]
    third = open_dataset(f"hmdb51@3:{root}")
    assert [split for _, split, _ in told(third)] == ["unused", "train", "unused", "train"]
    result = scan(f"hmdb51@3:{root}", clip=SHORT, progress=False, workers=0)
    assert [video.split for video in result.training()] == ["train", "train"]
    assert "missing 1 video of 5 listed:" in result.summary()


@pytest.mark.parametrize("classes", [400, 600, 700])
def test_kinetics(tmp_path, tiny_video, classes):
    root = layouts.kinetics(tmp_path, tiny_video)
    found = open_dataset(f"kinetics{classes}:{root}")
    assert found.classes["label"] == ("massaging person's head", "playing ukulele", "tap dancing")
    assert told(found) == [
        ("aaaaaaaaaaa_000010_000020", "train", "playing ukulele"),
        ("bbbbbbbbbbb_000000_000010", "train", "massaging person's head"),
        ("-_ccccccccc", "train", "playing ukulele"),
        ("ddddddddddd_000005_000015", "train", "playing ukulele"),
        ("eeeeeeeeeee_3_13", "val", "tap dancing"),
        ("fffffffffff_000001_000011", "test", ""),
    ]
    assert "replacement" in found.rows[1].path
    # another part of a video that is there is not that video
    assert found.missing == ["train/ddddddddddd_000050_000060.mp4"]
    assert "Kinetics-400" in found.notes[0]


def test_kinetics_without_its_csv_file_is_refused(tmp_path, tiny_video):
    root = layouts.kinetics(tmp_path, tiny_video)
    (root / "annotations" / "val.csv").unlink()
    with pytest.raises(DataError, match=r"not the root of Kinetics-400: no file annotations/val.csv or"):
        open_dataset(f"kinetics400:{root}")


@pytest.mark.parametrize("old", [False, True])
def test_something_something_forbids_the_flip(tmp_path, tiny_video, old):
    root = layouts.ssv2(tmp_path, tiny_video, old)
    found = open_dataset(f"ssv2:{root}")
    assert found.classes["label"] == (
        "Pushing something from left to right",
        "Moving something down",
        "Holding something",
    )
    assert told(found) == [
        ("1", "train", "Pushing something from left to right"),
        ("2", "train", "Holding something"),
        ("3", "val", "Moving something down"),
        ("4", "test", "" if old else "Holding something"),
    ]
    assert found.missing == ["9.webm"]
    assert not found.flip_allowed
    result = scan(f"ssv2:{root}", clip=SHORT, progress=False, workers=0)
    result.refuse_flip(0.0)
    with pytest.raises(ConfigError, match=r"Pushing something from left to right.*--augment.flip 0"):
        result.refuse_flip(0.5)


def test_finegym_that_was_cut(tmp_path, tiny_video):
    found = open_dataset(f"gym99:{layouts.finegym(tmp_path, tiny_video, cut=True)}")
    vault = "(VT) round-off, flic-flac with 0.5 turn on, stretched salto forward"
    leap = "(FX) switch leap with 1 turn"
    assert found.classes["label"] == (vault, leap)
    assert told(found) == [
        (layouts.GYM_ELEMENTS[0], "train", leap),
        (layouts.GYM_ELEMENTS[1], "val", vault),
    ]
    assert found.missing == ["absentabsen_E_000001_000002_A_0000_0001.mp4"]


def test_finegym_from_whole_videos(tmp_path, tiny_video):
    root = layouts.finegym(tmp_path, tiny_video, cut=False)
    found = open_dataset(f"gym99:{root}")
    first, second = (row.segment for row in found.rows)
    assert first == Segment(
        pytest.approx(0.6), pytest.approx(1.0), f"subactions/{layouts.GYM_ELEMENTS[0]}.mp4"
    )
    assert (second.start, second.end) == (pytest.approx(0.0), pytest.approx(0.8))
    videos = scan(f"gym99:{root}", clip=None, progress=False, workers=0).videos
    assert [(video.first, video.frames, video.split) for video in videos] == [
        (15, 10, "train"),
        (0, 20, "val"),
    ]
    with pytest.raises(DataError, match=r"gym288_train_element_v1.1.txt"):
        open_dataset(f"gym288:{root}")


def test_finegym_without_categories_has_numbers(tmp_path, tiny_video):
    root = layouts.finegym(tmp_path, tiny_video, cut=True)
    (root / "annotations" / "gym99_categories.txt").unlink()
    found = open_dataset(f"gym99:{root}")
    assert found.classes["label"] == ("0", "1")
    assert [row.labels["label"] for row in found.rows] == ["1", "0"]


def test_diving48_version_2(tmp_path, tiny_video):
    found = open_dataset(f"diving48:{layouts.diving48(tmp_path, tiny_video)}")
    assert found.classes["label"] == ("Back 15som 05Twis FREE", "Back 25som NoTwis PIKE")
    assert told(found) == [
        ("_8Vy3dlHg2w_00000", "train", "Back 25som NoTwis PIKE"),
        ("_8Vy3dlHg2w_00001", "test", "Back 15som 05Twis FREE"),
    ]
    assert found.missing == ["gone_00002.mp4"]


def test_ava(tmp_path, tiny_video):
    root = layouts.ava(tmp_path, tiny_video)
    found = open_dataset(f"ava:{root}")
    assert told(found) == [("-5KQ66BBWC4", "train", ""), ("1j20qq1JyX4", "val", "")]
    assert found.missing == ["gone_gone_g"]
    actions = read_ava_actions(root)
    assert actions.evaluated == (12, 80)
    assert actions.names[1] == "bend/bow (at the waist)"
    assert found.classes["action"] == tuple(actions.names[n] for n in (1, 12, 80))

    frames = read_ava_keyframes(root, "train")
    assert [(frame.video, frame.second) for frame in frames] == [("-5KQ66BBWC4", 902), ("gone_gone_g", 1798)]
    assert frames[0].actions == ((80, 12), (12,))
    assert frames[0].people == (1, 2)
    np.testing.assert_allclose(
        frames[0].boxes, [[0.077, 0.151, 0.283, 0.811], [0.5, 0.1, 0.7, 0.9]], rtol=1e-6
    )
    assert frames[0].boxes.dtype == np.float64
    assert frames[0].frame == 61
    assert [Path(path).name for path in ava_frames(root, "-5KQ66BBWC4")] == [
        f"-5KQ66BBWC4_00000{number}.jpg" for number in (1, 2, 3)
    ]
    os.remove(root / "frames/-5KQ66BBWC4/-5KQ66BBWC4_000002.jpg")
    with pytest.raises(DataError, match="without a gap, found 2"):
        ava_frames(root, "-5KQ66BBWC4")


@pytest.mark.parametrize(
    "line",
    [
        "v,0902,0.5,0.1,0.4,0.9,12,1",
        "v,0902,0.5,0.1,1.4,0.9,12,1",
        "v,0902,0.5,0.1,0.6,0.9,13,1",
        "v,0901,0.5,0.1,0.6,0.9,12,1",
        "v,0902,0.5,0.1,0.6,0.9,12",
        "v,x,0.5,0.1,0.6,0.9,12,1",
    ],
)
def test_ava_boxes_are_checked(tmp_path, tiny_video, line):
    root = layouts.ava(tmp_path, tiny_video)
    with open(root / "annotations/ava_val_v2.2.csv", "a") as file:
        file.write(line + "\n")
    with pytest.raises(DataError, match=r"ava_val_v2.2.csv: cannot understand 'v,.*expected video,second"):
        read_ava_keyframes(root, "val")


class Program:
    def __reduce__(self):
        return os.mkdir, ("should_not_be_made",)


def test_ava_detections(tmp_path, tiny_video, monkeypatch):
    root = layouts.ava(tmp_path, tiny_video)
    key = ("1j20qq1JyX4", 905)
    table = root / "annotations/ava_val_predicted_boxes.csv"
    both, sure = read_ava_detections(table), read_ava_detections(table, 0.9)
    np.testing.assert_allclose(both[key], [[0.1, 0.2, 0.3, 0.4, 0.99], [0.5, 0.2, 0.9, 0.4, 0.3]], rtol=1e-6)
    np.testing.assert_array_equal(sure[key], both[key][:1])
    path = tmp_path / "ava_dense_proposals_val.FAIR.recall_93.9.pkl"
    for protocol in (2, pickle.HIGHEST_PROTOCOL):
        path.write_bytes(pickle.dumps({"1j20qq1JyX4,0905": both[key].astype(np.float64)}, protocol))
        np.testing.assert_allclose(read_ava_detections(path)[key], both[key])
    monkeypatch.chdir(tmp_path)
    path.write_bytes(pickle.dumps({"a,0905": Program()}))
    with pytest.raises(DataError, match="mkdir"):
        read_ava_detections(path)
    assert not (tmp_path / "should_not_be_made").exists()
    outside = {"a,1": np.array([[0.1, 0.1, 1.1, 0.5, 0.9]])}
    for content in (b"junk", *map(pickle.dumps, ([1], {"a,1": np.zeros(4)}, outside))):
        path.write_bytes(content)
        with pytest.raises(DataError, match="not a file of person detections"):
            read_ava_detections(path)


def test_a_folder_per_class(tmp_path, tiny_video):
    root = layouts.build(tmp_path / "plain", tiny_video, ["run/a.mp4", "run/deep/b.mp4", "jump/a.mp4"], {})
    found = open_dataset(f"class-folders:{root}")
    assert told(found) == [("a", "", "jump"), ("a", "", "run"), ("b", "", "run")]
    assert found.classes["label"] == ("jump", "run")
    root = layouts.build(tmp_path / "split", tiny_video, ["train/run/a.mp4", "validation/jump/b.mp4"], {})
    assert told(open_dataset(f"class-folders:{root}")) == [("a", "train", "run"), ("b", "val", "jump")]
    layouts.build(root, tiny_video, ["train/stray.mp4"], {})
    with pytest.raises(DataError, match=r"stray.mp4: is in no class folder"):
        open_dataset(f"class-folders:{root}")


@pytest.mark.parametrize(
    ("files", "rows"),
    [
        (
            ["train/run/a.mp4", "test/sit/b.mp4", "unlabelled/misc/c.mp4", "extra/d.mp4"],
            [("d", "extra", ""), ("b", "test", "sit"), ("a", "train", "run"), ("c", "unlabelled", "misc")],
        ),
        (["training/run/a.mp4", "testing/sit/b.mp4"], [("b", "test", "sit"), ("a", "train", "run")]),
        (["Train/run/a.mp4", "Val/sit/b.mp4"], [("a", "train", "run"), ("b", "val", "sit")]),
        (["tr/run/a.mp4", "te/sit/b.mp4"], [("b", "test", "sit"), ("a", "train", "run")]),
        (["run/train/a.mp4", "run/test/b.mp4"], [("b", "test", "run"), ("a", "train", "run")]),
        (["tr/a.mp4", "te/b.mp4", "en/c.mp4"], [("c", "", "en"), ("b", "", "te"), ("a", "", "tr")]),
        (["bus/a.mp4", "train/b.mp4"], [("a", "", "bus"), ("b", "", "train")]),
    ],
)
def test_folders_of_splits_are_no_classes(tmp_path, tiny_video, files, rows):
    found = open_dataset(f"class-folders:{layouts.build(tmp_path, tiny_video, files, {})}")
    assert told(found) == rows
    assert set(found.classes["label"]) == {label for *_, label in rows if label}
    odd = {"train", "tr", "te"} & set(found.classes["label"])
    assert [note for note in found.notes if "is used as a class" in note and "\n" not in note] == [
        note for note in found.notes if "names of splits" not in note
    ]
    assert sum("is used as a class" in note for note in found.notes) == len(odd)


def test_kinetics_in_folders_of_other_names(tmp_path, tiny_video):
    root = layouts.kinetics(tmp_path, tiny_video)
    before = told(open_dataset(f"kinetics400:{root}"))
    os.rename(root / "train", root / "Training")
    assert told(open_dataset(f"kinetics400:{root}")) == before


@pytest.mark.parametrize("name", ["ucf101", "hmdb51", "kinetics400", "ssv2", "gym99", "diving48", "ava"])
def test_an_official_layout_passes_over_what_it_cannot_look_into(name, tmp_path, tiny_video, monkeypatch):
    root = ALL_LAYOUTS[name](tmp_path / "data", tiny_video)
    inside = {os.path.dirname(row.path) for row in open_dataset(f"{name}:{root}").rows}
    for number, place in enumerate(sorted(inside)):
        (Path(place) / f"closed{number}").mkdir()
    scandir = os.scandir

    def refusing(place):
        if "closed" in os.path.basename(os.fspath(place)):
            raise PermissionError(13, "Permission denied")
        return scandir(place)

    monkeypatch.setattr("bodvcl.data.sets.layout.os.scandir", refusing)
    found = open_dataset(f"{name}:{root}")
    assert len(found.rows) > 0
    assert {os.path.basename(place) for place, _ in found.unreadable} == {
        f"closed{number}" for number in range(len(inside))
    }
    assert {reason for _, reason in found.unreadable} == {"Permission denied"}


def test_a_list_whose_classes_say_left_forbids_the_flip(tmp_path, tiny_video):
    root = layouts.build(
        tmp_path,
        tiny_video,
        ["a.mp4", "b.mp4"],
        {"list.csv": "path,label\na.mp4,turn_left\nb.mp4,leftover\n"},
    )
    found = open_dataset(root / "list.csv")
    assert found.flip_forbidden_by == "turn_left"
    assert open_dataset(root).flip_allowed


def official_names() -> list[str]:
    return sorted(name for name, entry in DATA_SETS.items() if isinstance(entry, DataSet))


@pytest.mark.parametrize("name", official_names())
def test_a_folder_that_is_laid_out_otherwise(name, tmp_path, tiny_video):
    if name == "class-folders":
        layouts.build(tmp_path, tiny_video, ["a.mp4"], {})
    with pytest.raises(DataError) as caught:
        open_dataset(f"{name}:{tmp_path}")
    message = str(caught.value)
    assert "\n" not in message
    assert str(tmp_path) in message
    assert f"expected {DATA_SETS[name].layout}" in message
    with pytest.raises(DataError, match="nowhere: no such folder; expected the root of"):
        open_dataset(f"{name}:{tmp_path / 'nowhere'}")


def test_the_manual_has_every_data_set():
    text = (Path(__file__).parents[2] / "docs" / "data_sets.md").read_text()
    assert [name for name in official_names() if f"`{name}:`" not in text] == []
    assert [name for name in DATA_SETS if f"`{name}" not in text] == []


@pytest.mark.parametrize("name", ["shapes", "digits", "scenes"])
def test_a_built_in_data_set_is_opened_by_its_name_alone(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).mkdir()  # a folder of that name is given as ./shapes
    small = {"cache": tmp_path / "cache", "train_videos": 8, "probe_videos": 16, "frames": 8, "size": 32}
    settings = BuiltInSettings(ShapesConfig(**small), DigitsConfig(**small), ScenesConfig(**small))
    found = open_dataset(name, settings, workers=1, progress=False)
    assert found.name == name
    assert Counter(row.split for row in found.rows) == {"train": 8, "probe_train": 8, "probe_test": 8}
    assert found.classes.keys() == found.rows[0].labels.keys()
    assert found.classes.keys() == built_in(name).kinds.keys() - ({"shape"} if name == "scenes" else set())
    assert set(built_in(name).kinds.values()) == {"static", "dynamic"}
    assert all(Path(row.path).is_file() for row in found.rows)
    assert built_in(f"./{name}") is None
    with pytest.raises(DataError, match=f"{name} is built in and has no folder; give {name} alone"):
        open_dataset(f"{name}:{tmp_path}")


def test_names(tmp_path):
    with pytest.raises(DataError, match=r"no data set named ucf11 \(did you mean ucf101\?\)"):
        open_dataset("ucf11:/somewhere")
    with pytest.raises(DataError, match=r"no such file or folder.*kinetics400"):
        open_dataset("/nowhere/at/all")
    with pytest.raises(DataError, match="empty text"):
        open_dataset("")
    (tmp_path / "a:b").mkdir()
    assert open_dataset(tmp_path / "a:b").rows == []


GARBAGE = {
    "empty": b"",
    "bytes": bytes(range(256)),
    "a list": b"[]",
    "numbers": b"[1, 2]",
    "an object": b"{}",
    "nested": b'{"a": [1], "0LtLS9wROrk": 3}',
    "objects": b'[{"id": 1}, {"vid_name": 2, "label": 99}]',
    "a number": b"17",
    "commas": b",,,,,,,,,,,,\n" * 3,
    "words": "l\xe4ngst nicht\nwas erwartet wird\n".encode(),
    "long": b"a" * 200_000 + b",b\n" + b"c" * 200_000,
    "header": b"label,youtube_id,time_start,time_end,split\na,b,c,d,e,f,g\n",
}
ALL_LAYOUTS = {
    "ucf101": layouts.ucf101,
    "hmdb51": layouts.hmdb51,
    "kinetics400": layouts.kinetics,
    "ssv2": layouts.ssv2,
    "gym99": lambda root, video: layouts.finegym(root, video, cut=False),
    "diving48": layouts.diving48,
    "ava": layouts.ava,
}


@pytest.mark.parametrize("name", ALL_LAYOUTS)
def test_a_list_that_is_something_else_is_named(name, tmp_path, tiny_video):
    root = ALL_LAYOUTS[name](tmp_path / "data", tiny_video)
    for path in map(Path, open_dataset(f"{name}:{root}").annotations):
        good = path.read_bytes()
        messages = []
        for garbage in GARBAGE.values():
            path.write_bytes(garbage)
            try:
                open_dataset(f"{name}:{root}")
            except DataError as error:
                messages.append(str(error))
        assert messages, path
        assert all(str(root) in message and "\n" not in message for message in messages)
        path.write_bytes(good)


def test_excluded_seconds_of_ava_that_are_none(tmp_path, tiny_video):
    root = layouts.ava(tmp_path, tiny_video)
    (root / "annotations/ava_train_excluded_timestamps_v2.2.csv").write_text("-5KQ66BBWC4,9o3\n")
    with pytest.raises(DataError, match=r"excluded_timestamps_v2.2.csv: cannot understand '-5KQ66BBWC4,9o3'"):
        read_ava_keyframes(root, "train")


def test_nothing_there_that_the_lists_name(tmp_path, tiny_video):
    root = layouts.diving48(tmp_path, tiny_video)
    for file in (root / "rgb").iterdir():
        file.unlink()
    with pytest.raises(
        DataError, match=r"none of its 3 listed videos was found below .*_8Vy3dlHg2w_00000.mp4"
    ):
        scan(f"diving48:{root}", clip=SHORT, progress=False)


def test_training_takes_the_train_split_and_refuses_the_flip(tmp_path, tiny_video, capsys):
    root = layouts.ssv2(tmp_path / "ssv2", tiny_video)
    sizes = "--clip.size 16 --clip.frames 4 --model.width 4 --model.embed-dim 8 --model.hidden-dim 8"
    where = ["--data", f"ssv2:{root}", "--run-dir", str(tmp_path / "run")]
    options = "--device cpu --workers 0 --max-steps 1 --log.no-probe --log.no-report"
    command = ["train", *where, *sizes.split(), *options.split()]
    assert main([*command, "--batch-size", "2", "--augment.flip", "0.5"]) == 2
    assert "--augment.flip 0" in capsys.readouterr().err
    assert main([*command, "--batch-size", "3"]) == 2
    assert "from 2 usable videos" in capsys.readouterr().err
    assert main([*command, "--batch-size", "2"]) == 0
    assert "missing 1 video of 5 listed" in capsys.readouterr().out
