"""Parts of files as videos of their own: exactly their frames, and no leak from training to testing."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from video_files import VARIABLE, read_barcode, write_video

from bodvcl.cli.data import main as data_main
from bodvcl.config.schema import AugmentConfig, ClipConfig
from bodvcl.data.clips.plan import ClipPlan
from bodvcl.data.files.parts import part_of
from bodvcl.data.files.probing import probe_video
from bodvcl.data.files.reading import read_frames
from bodvcl.data.files.repeats import marked_repeats
from bodvcl.data.files.scan import scan
from bodvcl.data.files.video_list import difference, list_videos
from bodvcl.data.sets import Segment, open_dataset
from bodvcl.data.sets.rows import VideoRow
from bodvcl.data.sets.spans import Shown, Span
from bodvcl.data.sources.pyav_source import PyAVSource
from bodvcl.errors import DataError
from bodvcl.evaluate.splits import divide, refuse_shared, without_shared

WHOLE = AugmentConfig(crop_area=(1.0, 1.0), crop_aspect=(80 / 48, 80 / 48), flip=0.0, jitter=0.0)
CLIP = ClipConfig(frames=4, stride=2, size=80)


def numbers(info, indices=None) -> list[int]:
    return [
        read_barcode(image) for image in read_frames(info, range(info.frames) if indices is None else indices)
    ]


def listed(path: Path, *rows: str, header: str = "path,start,end,split,label") -> Path:
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def found(path: Path, clip: ClipConfig | None = CLIP):
    return scan(path, clip=clip, workers=0, progress=False)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.mp4", {}),
        ("a.mp4", {"options": {"x264-params": "open-gop=1:bframes=3:keyint=10:min-keyint=10:scenecut=0"}}),
        ("a.mkv", {"stamps": VARIABLE}),
        ("a.avi", {"codec": "mpeg4", "options": {"bf": "2"}}),
        ("a.ts", {}),
    ],
)
def test_a_part_has_the_frames_of_its_time(tmp_path, name, options):
    info = probe_video(write_video(tmp_path / name, 50, **options))
    times = info.times()
    for start, end in [(0.0, 0.4), (0.4, 0.8), (0.5, 1.3), (1.2, 2.0), (0.0, 9e-3)]:
        expected = np.flatnonzero((times >= start - 1e-6) & (times < end - 1e-6))
        part = part_of(info, Segment(start, end))
        assert numbers(part) == expected.tolist()
        np.testing.assert_allclose(part.times(), times[expected] - times[expected[0]], atol=1e-9)
        assert part.begins == pytest.approx(times[expected[0]])
        assert part.keyframes[0] == 0
        assert (np.diff(part.keyframes) > 0).all()
        wanted = [part.frames - 1, 0, part.frames // 2]
        assert numbers(part, wanted) == [int(expected[n]) for n in wanted]
    with pytest.raises(IndexError, match="numbers from 0 to 9"):
        read_frames(part_of(info, Segment(0, 0.4)), [10])


def test_all_of_a_file_is_the_file(good_video):
    info = probe_video(good_video)
    assert part_of(info, Segment(0, 2.0)) is info
    assert part_of(info, Segment(0, 2.04)) is info  # a list that rounds: one frame


@pytest.mark.parametrize(
    ("start", "end", "reason"),
    [(0, 2.1, "from 0 to 2.1 s is asked for, but it is only 2.0 s long"),
     (2.0, 2.5, "no frame from 2 to 2.5 s"), (1.001, 1.002, "no frame from 1.001")],
)  # fmt: skip
def test_what_the_file_does_not_show_is_left_out_with_the_reason(good_video, tmp_path, start, end, reason):
    path = listed(tmp_path / "l.csv", f"{good_video},{start},{end},,a", f"{good_video},0,1,,b")
    result = found(path)
    assert [video.labels["label"] for video in result.videos] == ["b"]
    assert len(result.skipped) == 1
    assert reason in result.skipped[0][1]


def test_training_sees_only_frames_inside(good_video, tmp_path):
    spans = [(0, 0.6), (0.6, 1.2), (1.2, 2.0)]
    path = listed(tmp_path / "l.csv", *(f"{good_video},{a},{b},train,{k}" for k, (a, b) in enumerate(spans)))
    videos = found(path).training()
    assert [video.frames for video in videos] == [15, 15, 20]
    for keep in (0.0, 1.0):  # kept frames are those of the part, too
        source = PyAVSource(ClipPlan(videos, CLIP, WHOLE, batch_size=3, seed=0), workers=0, keep=keep)
        for epoch in range(4):
            batch = next(source.epoch(epoch))
            for row, (clip, frames) in enumerate(zip(batch.clips, batch.frames.tolist())):
                first, _ = spans[int(batch.videos[row // 2])]
                assert [read_barcode(image.numpy()) for image in clip] == [
                    n + round(25 * first) for n in frames
                ]
        source.close()


@pytest.mark.parametrize(
    "header",
    [
        "path,start,end",
        "Path, Start , END",
        "path,start_time,end_time",
        "path,time_start,time_end",
        "path,t_start,t_end",
    ],
)
def test_columns_of_times(good_video, tmp_path, header):
    path = listed(tmp_path / "l.csv", f"{good_video},0.2,0.8", f"{good_video},,", header=header)
    rows = open_dataset(path).rows
    assert [row.segment for row in rows] == [Segment(0.2, 0.8), None]
    assert [dict(row.labels) for row in rows] == [{}, {}]
    assert [video.frames for video in found(path).videos] == [15, 50]
    assert "parts of longer files: 1 video from 1 file" in "\n".join(found(path).summary())


@pytest.mark.parametrize(
    ("row", "reason"),
    [("2,1", r"row 3: start 2 is not before end 1"), ("1,1", "start 1 is not before end 1"),
     ("a,1", r"row 3: start is 'a'; expected seconds"), ("1,", "end is ''"), ("-1,2", "start is '-1'"),
     ("nan,2", "start is 'nan'"), ("0:01,0:02", "start is '0:01'"), ("1,inf", "end is 'inf'")],
)  # fmt: skip
def test_times_that_are_none_are_refused(good_video, tmp_path, capsys, row, reason):
    path = listed(tmp_path / "l.csv", f"{good_video},0,1", f"{good_video},{row}", header="path,start,end")
    assert data_main(["scan", str(path), "--workers", "0"]) == 2
    error = capsys.readouterr().err.strip()
    assert reason in error
    assert "\n" not in error


def test_times_that_are_not_clear(good_video, tmp_path):
    path = listed(tmp_path / "l.csv", f"{good_video},0,1,0,1", header="path,start,end,t_start,t_end")
    with pytest.raises(DataError, match="several pairs of columns are named like the times"):
        open_dataset(path)
    alone = open_dataset(listed(tmp_path / "l.csv", f"{good_video},1", header="path,start"))
    assert dict(alone.rows[0].labels) == {"start": "1"}
    assert "'start' is a label" in alone.notes[0]


def test_overlaps_between_splits_are_refused_and_parts_of_one_file_are_named(good_video, tmp_path):
    link = tmp_path / "link.mp4"
    link.symlink_to(good_video)
    path = listed(
        tmp_path / "l.csv",
        f"{good_video},0,0.6,train,a",
        f"{good_video},0.8,1.4,train,b",
        f"{link},0.6,0.8,test,a",
        f"{link},1.32,2,test,b",
        f"{good_video},0,0.6,test,a",
    )
    result = found(path, None)
    said = "\n".join(result.summary())
    assert f"1 file with parts both in train and in test: {good_video}" in said
    assert f"1 test video overlap with training videos, for example {link} from 1.32 to 2 s (test)" in said
    assert f"{good_video} from 0 to 0.6 s (1 x train, 1 x test)" in said  # listed twice
    for videos in (result.videos, marked_repeats(open_dataset(path).rows)):
        with pytest.raises(
            DataError, match=r"2 videos would both train and be tested on: .*link.mp4 from 1.32"
        ):
            refuse_shared(videos, divide(videos))
        assert [video.split for video in without_shared(videos)] == ["train", "train", "test"]


def test_a_whole_file_overlaps_with_its_parts(good_video, tmp_path):
    path = listed(tmp_path / "l.csv", f"{good_video},,,train,a", f"{good_video},0.4,1,test,b")
    for videos in (found(path).videos, marked_repeats(open_dataset(path).rows)):
        with pytest.raises(
            DataError, match=r"from 0.4 to 1 s \(test\) is or overlaps with .*good.mp4 \(train\)"
        ):
            refuse_shared(videos, divide(videos))


def test_parts_without_splits_are_said_to_be_in_both_halves(good_video, tmp_path):
    path = listed(tmp_path / "l.csv", f"{good_video},0,1,,a", f"{good_video},1,2,,a")
    assert "parts of one file can be in both halves" in divide(found(path).videos).text


def test_the_same_part_twice_is_one_video(good_video, tmp_path):
    rows = [f"{good_video},0,1,train,a"] * 2 + [f"{good_video},1,2,train,b"]
    result = found(listed(tmp_path / "l.csv", *rows))
    assert [(video.begins, video.frames) for video in result.videos] == [(0, 25), (1, 25)]
    assert len(result.training()) == 2
    assert len(result.repeats) == 1


def test_the_list_of_a_run_knows_the_parts(good_video, tmp_path):
    def videos(*spans):
        return list_videos(found(listed(tmp_path / "l.csv", *(f"{good_video},{s},," for s in spans))).videos)

    before = videos("0,1", "1,2")
    assert difference(before, videos("0,1", "1,2")) is None
    assert difference(before, videos("0,1", "0.8,2")) == (
        "1 appeared (good.mp4, frames 20 to 49), 1 vanished (good.mp4, frames 25 to 49)"
    )


def test_a_training_copy_of_a_list_of_parts(good_video, tmp_path, capsys):
    (tmp_path / "in").mkdir()
    target = tmp_path / "in" / "v 1.mp4"
    target.write_bytes(good_video.read_bytes())
    path = listed(
        tmp_path / "in" / "l.csv", "v 1.mp4,0,0.4,train,a", "v 1.mp4,1.2,2.0,test,b", "v 1.mp4,,,test,c"
    )
    assert data_main(["transcode", str(path), str(tmp_path / "out"), "--workers", "0"]) == 0
    capsys.readouterr()
    copy = found(tmp_path / "out" / "l.csv", None)
    assert [numbers(video) for video in copy.videos] == [
        list(range(10)),
        list(range(30, 50)),
        list(range(50)),
    ]
    assert [(video.split, video.labels) for video in copy.videos] == [
        ("train", {"label": "a"}), ("test", {"label": "b"}), ("test", {"label": "c"}),
    ]  # fmt: skip
    with open(tmp_path / "out" / "l.csv", newline="") as file:
        assert next(csv.reader(file)) == ["path", "split", "label"]


SPANS = st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 20), st.integers(1, 8)), max_size=8)


@given(SPANS, SPANS)
def test_overlaps_are_those_of_the_definition(trains, tests):
    def rows(spans):
        return [VideoRow(file, span=Span(file, start, start + length)) for file, start, length in spans]

    shown = Shown(rows(trains))
    for video, (file, start, length) in zip(rows(tests), tests):
        truth = [
            number
            for number, (other, begin, long) in enumerate(trains)
            if other == file and begin < start + length and begin + long > start
        ]
        assert (shown.also(video) is None) == (not truth)
        assert shown.also(video) in [None, *truth]
