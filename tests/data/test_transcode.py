"""A training copy has the frames and times of the original, its labels, and what makes it fast to read."""

from __future__ import annotations

import csv
import json
import os
import shutil
from fractions import Fraction
from pathlib import Path

import av
import layouts
import numpy as np
import pytest
from video_files import VARIABLE, read_barcode, write_video

from bodvcl.cli.main import main
from bodvcl.data.files import copies, reading
from bodvcl.data.files.copies import CopySettings, copy_size, time_unit, write_copies
from bodvcl.data.files.copy_folder import FAILED, copy_names
from bodvcl.data.files.probing import probe_video
from bodvcl.data.files.reading import read_frames
from bodvcl.data.files.transcode import transcode
from bodvcl.data.made import shapes
from bodvcl.data.sets import Segment, VideoRow, open_dataset
from bodvcl.errors import DataError

SMALL = CopySettings(short_side=48, gop=12)


def copied(source, destination, settings=SMALL, **options):
    return transcode(source, destination, settings, workers=0, progress=False, **options)


def numbers(path: Path) -> list[int]:
    info = probe_video(path)
    return [read_barcode(image) for image in read_frames(info, range(info.frames))]


@pytest.mark.parametrize(
    ("size", "short_side", "expected"),
    [
        ((340, 256), 128, (176, 128)),
        ((256, 340), 128, (128, 176)),
        ((1920, 1080), 256, (448, 256)),
        ((320, 240), 256, (320, 240)),
        ((321, 241), 256, (320, 240)),
        ((1000, 1000), 256, (256, 256)),
        ((1, 1), 256, (2, 2)),
    ],
)
def test_sizes_are_even_and_few(size, short_side, expected):
    assert copy_size(*size, short_side) == expected


SOURCES = {
    "plain.mp4": {},
    "variable.mkv": {"stamps": VARIABLE},
    "without_stamps.avi": {"codec": "mpeg4", "options": {"bf": "2"}},
    "transport.ts": {},
    "ten_bit.mp4": {"pix_fmt": "yuv420p10le"},
    "odd.mp4": {"size": (47, 81), "pix_fmt": "yuv444p"},
    "sound.mp4": {"audio": True},
    "one_frame.mp4": {"frames": 1},
    "vp9.webm": {"codec": "libvpx-vp9", "options": {"cpu-used": "8", "deadline": "realtime"}},
}


def test_frames_and_times_stay_what_they_were(tmp_path):
    for name, options in SOURCES.items():
        write_video(tmp_path / "in" / "deep er" / name, **options)
    report = copied(tmp_path / "in", tmp_path / "out", CopySettings(short_side=256, gop=12))
    assert (report.written, report.failed) == (len(SOURCES), [])
    assert report.before == sum(path.stat().st_size for path in (tmp_path / "in").rglob("*.*"))
    for name in SOURCES:
        before = probe_video(tmp_path / "in" / "deep er" / name)
        path = tmp_path / "out" / "deep er" / f"{os.path.splitext(name)[0]}.mp4"
        after = probe_video(path)
        assert (after.frames, after.codec, after.pixel_format) == (before.frames, "h264", "yuv420p"), name
        assert (after.sequential, after.rotation, after.hidden) == (False, 0, 0)
        assert after.keyframes.tolist() == list(range(0, after.frames, 12))
        np.testing.assert_allclose(after.times(), before.times(), atol=1e-4, err_msg=name)
        assert numbers(path) == list(range(before.frames)), name
        with av.open(str(path)) as container:
            assert [stream.type for stream in container.streams] == ["video"]
            assert container.streams.video[0].codec_context.has_b_frames == 0
    data = (tmp_path / "out" / "deep er" / "plain.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


@pytest.mark.skipif(
    not hasattr(av.VideoStream, "set_display_rotation"), reason="this PyAV cannot write a rotation"
)
def test_a_turned_video_is_stored_upright(tmp_path):
    path = write_video(tmp_path / "in" / "turned.mp4", frames=13, rotation=90)
    before = probe_video(path)
    copied(tmp_path / "in", tmp_path / "out", CopySettings(short_side=256))
    after = probe_video(tmp_path / "out" / "turned.mp4")
    assert (after.rotation, after.width, after.height) == (0, before.width, before.height)
    difference = read_frames(after, [7]).astype(int) - read_frames(before, [7])
    assert abs(difference).mean() < 3


def test_colours_stay_what_they_were(tmp_path):
    path = tmp_path / "in" / "colours.mp4"
    path.parent.mkdir()
    image = np.zeros((64, 96, 3), np.uint8)
    for column, colour in enumerate([(200, 30, 30), (30, 200, 30), (30, 30, 200)]):
        image[:, 32 * column : 32 * column + 32] = colour
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "5"})
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        stream.codec_context.colorspace = 1  # BT.709, as in high-definition video
        for _ in range(4):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            container.mux(stream.encode(frame.reformat(format="yuv420p", dst_colorspace="ITU709")))
        container.mux(stream.encode(None))
    copied(tmp_path / "in", tmp_path / "out", CopySettings(short_side=256, crf=5))
    before, after = probe_video(path), probe_video(tmp_path / "out" / "colours.mp4")
    assert (before.colour_space, after.colour_space) == (1, 6)
    middle = np.s_[0, 32, 16::32]
    shown, again = read_frames(before, [0])[middle].astype(int), read_frames(after, [0])[middle].astype(int)
    assert abs(shown - image[32, 16::32]).max() <= 6
    assert abs(again - shown).max() <= 6


def test_a_second_run_only_does_what_is_missing(tmp_path):
    for name in ("a.mp4", "b.mkv", "c.avi"):
        write_video(tmp_path / "in" / name, 20, codec="mpeg4")
    assert copied(tmp_path / "in", tmp_path / "out").written == 3
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.mp4")}
    (tmp_path / "out" / "b.mp4").unlink()
    (tmp_path / "out" / ".b.mp4.part").write_bytes(b"half a file")
    newer = (tmp_path / "out" / "c.mp4").stat().st_mtime_ns + 10**9
    os.utime(tmp_path / "in" / "c.avi", ns=(newer, newer))
    report = copied(tmp_path / "in", tmp_path / "out")
    assert (report.written, report.kept) == (2, 1)
    assert report.before == sum(path.stat().st_size for path in (tmp_path / "in").iterdir())
    assert report.after == sum(path.stat().st_size for path in (tmp_path / "out").glob("*.mp4"))
    assert (tmp_path / "out" / "a.mp4").stat().st_mtime_ns == before["a.mp4"]
    assert not list((tmp_path / "out").glob(".*"))
    with pytest.raises(DataError, match=r"contains another copy \(short_side 48, now 32\)"):
        copied(tmp_path / "in", tmp_path / "out", CopySettings(short_side=32))
    write_video(tmp_path / "other" / "a.mp4", 20)
    with pytest.raises(DataError, match=r"contains another copy \(source .*in, now .*other\)"):
        copied(tmp_path / "other", tmp_path / "out")


@pytest.mark.parametrize("unit", ["1/25", "1001/30000", "1/12800", "1/90000", "1/1000000000"])
def test_a_unit_of_time_survives_its_rounding(unit):
    assert time_unit(float(Fraction(unit))) == Fraction(unit)


def test_an_interrupted_file_is_not_there(tmp_path, good_video, monkeypatch):
    (tmp_path / "in").mkdir()
    shutil.copy2(good_video, tmp_path / "in" / "a.mp4")

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(copies, "stream_frames", interrupted)
    with pytest.raises(KeyboardInterrupt):
        copied(tmp_path / "in", tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["transcode.json"]


def test_what_cannot_be_copied_is_named(tmp_path, good_video):
    (tmp_path / "in").mkdir()
    shutil.copy2(good_video, tmp_path / "in" / "good.mp4")
    (tmp_path / "in" / "text.mp4").write_text("no video")
    damaged = bytearray(write_video(tmp_path / "in" / "damaged.mp4", 100, gop=10).read_bytes())
    body = damaged.index(b"mdat") + 4
    rng = np.random.default_rng(0)
    for place in rng.integers(body + 3000, body + 3600, 200):
        damaged[place] ^= int(rng.integers(1, 255))
    (tmp_path / "in" / "damaged.mp4").write_bytes(damaged)
    report = copied(tmp_path / "in", tmp_path / "out")
    assert report.written == 1
    assert {Path(path).name for path, _ in report.failed} == {"text.mp4", "damaged.mp4"}
    assert [path.name for path in (tmp_path / "out").glob("*.mp4")] == ["good.mp4"]
    with open(tmp_path / "out" / FAILED, newline="") as file:
        assert [(row["path"], row["reason"]) for row in csv.DictReader(file)] == report.failed


def test_a_built_in_data_set_becomes_a_list(tmp_path, shapes_list, monkeypatch):
    monkeypatch.setattr(shapes, "prepare", lambda config, **options: shapes_list)
    (tmp_path / "shapes").mkdir()
    monkeypatch.chdir(tmp_path)
    report = copied("shapes", tmp_path / "copy", CopySettings(short_side=32))
    assert (report.written, report.failed) == (32, [])
    assert report.source == str(tmp_path / "copy" / "labels.csv")
    original, copy = open_dataset(shapes_list), open_dataset(report.source)
    assert [(row.split, row.labels) for row in copy.rows] == [
        (row.split, row.labels) for row in original.rows
    ]


def test_a_list_keeps_its_splits_and_labels(tmp_path, good_video):
    root = layouts.build(
        tmp_path / "in",
        good_video,
        ["v/a.avi", "v/a.mkv", "v/b c.mp4"],
        {
            "lists/mine.csv": (
                "path,split,what\n../v/a.avi,train,cat\n../v/b c.mp4,test,\n../v/a.mkv,train,dog\n"
                "../v/gone.mp4,train,cat\n../v/a.avi,train,again\n"
            )
        },
    )
    report = copied(root / "lists" / "mine.csv", tmp_path / "out")
    assert report.source == str(tmp_path / "out" / "mine.csv")
    found = open_dataset(report.source)
    assert [
        (os.path.relpath(row.path, tmp_path / "out"), row.split, row.labels["what"]) for row in found.rows
    ] == [
        ("v/a.avi.mp4", "train", "cat"),
        ("v/b c.mp4", "test", ""),
        ("v/a.mkv.mp4", "train", "dog"),
        ("v/a.avi.mp4", "train", "again"),
    ]
    assert all(Path(row.path).is_file() for row in found.rows)
    assert [reason for _, reason in report.failed] == ["no such file"]


def test_names_that_would_meet_are_kept_apart():
    rows = [VideoRow(f"/d/{name}") for name in ("a.avi", "a.mp4", "b.avi", "c/a.webm")]
    assert list(copy_names(rows, Path("/d")).values()) == ["a.avi.mp4", "a.mp4", "b.mp4", "c/a.mp4"]


OFFICIAL = {
    "ucf101": layouts.ucf101,
    "ucf101@2": layouts.ucf101,
    "hmdb51@3": layouts.hmdb51,
    "kinetics400": layouts.kinetics,
    "ssv2": layouts.ssv2,
    "diving48": layouts.diving48,
    "ava": layouts.ava,
}


@pytest.mark.parametrize("name", OFFICIAL)
def test_the_copy_of_an_official_layout_is_read_like_it(name, tmp_path):
    video = write_video(tmp_path / "tiny.mp4", 5)
    root = OFFICIAL[name](tmp_path / "in", video)
    report = copied(f"{name}:{root}", tmp_path / "out")
    assert report.source == f"{name}:{tmp_path / 'out'}"
    before, after = open_dataset(f"{name}:{root}"), open_dataset(report.source)
    assert [(Path(row.path).stem, row.split, row.labels) for row in after.rows] == [
        (Path(row.path).stem, row.split, row.labels) for row in before.rows
    ]
    assert after.classes == before.classes
    assert all(row.path.startswith(str(tmp_path / "out")) for row in after.rows)
    if name == "ucf101":
        assert open_dataset(f"ucf101@2:{tmp_path / 'out'}").missing == []


def test_paths_may_be_relative(tmp_path, monkeypatch):
    layouts.ucf101(tmp_path / "in", write_video(tmp_path / "tiny.mp4", 5))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert copied("ucf101:../in", "../out").failed == []
    assert len(open_dataset(f"ucf101:{tmp_path / 'out'}").rows) == 6
    (tmp_path / "here" / "list.csv").write_text("path\n../in/UCF-101/Hammering/v_Hammering_g01_c01.avi\n")
    report = copied("list.csv", "copy")  # beside the list: a list is not searched
    assert [Path(row.path).is_file() for row in open_dataset(report.source).rows] == [True]


def test_segments_are_cut_out(tmp_path):
    video = write_video(tmp_path / "tiny.mp4", 50)
    root = layouts.finegym(tmp_path / "in", video, cut=False)
    report = copied(f"gym99:{root}", tmp_path / "out")
    assert (report.written, report.failed) == (2, [])
    found = open_dataset(report.source)
    assert [row.segment for row in found.rows] == [None, None]
    assert [row.split for row in found.rows] == ["train", "val"]
    assert [numbers(Path(row.path)) for row in found.rows] == [list(range(15, 25)), list(range(20))]


@pytest.fixture
def decoded(monkeypatch) -> list[int]:
    """Numbers of the frames that are decoded from now on."""
    numbered, seen = reading._numbered, []

    def counted(*arguments):
        for number, frame in numbered(*arguments):
            seen.append(number)
            yield number, frame

    monkeypatch.setattr(reading, "_numbered", counted)
    return seen


KINDS = {
    "a.avi": {"codec": "mpeg4", "options": {"bf": "2"}},
    "a.ts": {},
    "a.mpg": {"codec": "mpeg2video"},
    "a.h264": {"container": "h264"},
    "a.mp4": {},
}


@pytest.mark.parametrize("name", KINDS)
def test_every_frame_is_decoded_once(tmp_path, name, decoded):
    path = write_video(tmp_path / name, 120, size=(48, 80), **KINDS[name])
    (fault,) = write_copies(probe_video(path), [(None, tmp_path / "copy.mp4")], SMALL)
    assert fault is None
    assert decoded == list(range(120))
    assert numbers(tmp_path / "copy.mp4") == list(range(120))


@pytest.mark.parametrize("name", KINDS)
def test_segments_of_one_file_are_cut_in_one_pass(tmp_path, name, decoded):
    """Apart, inside each other, overlapping, twice the same, in any order."""
    info = probe_video(write_video(tmp_path / name, 120, **KINDS[name]))
    spans = [(60, 100), (0, 10), (70, 80), (90, 120), (70, 80), (119, 120)]
    parts = [(Segment(a / 25, b / 25, f"{k}"), tmp_path / f"{k}.mp4") for k, (a, b) in enumerate(spans)]
    parts.append((Segment(9, 10, "none"), tmp_path / "none.mp4"))
    *faults, last = write_copies(info, parts, SMALL)
    assert faults == [None] * len(spans)
    assert "no frame from 9 to 10 s; it is 4.8 s long" in last.reason
    assert len(decoded) == len(set(decoded))
    for (_, path), (a, b) in zip(parts, spans):
        assert numbers(path) == list(range(a, b))
    assert not list(tmp_path.glob(".*"))


def test_damage_costs_only_the_segments_that_it_lies_in(tmp_path):
    path = write_video(tmp_path / "a.mp4", 100, gop=10)
    info = probe_video(path)
    data = bytearray(path.read_bytes())
    body = data.index(b"mdat") + 4
    middle = body + (data.index(b"moov") - body) // 2
    data[middle : middle + 400] = bytes(400)
    path.write_bytes(data)
    parts = [(Segment(k / 5, (k + 1) / 5, ""), tmp_path / f"{k}.mp4") for k in range(20)]
    faults = write_copies(info, parts, SMALL)
    failed = [k for k, fault in enumerate(faults) if fault is not None]
    assert 1 <= len(failed) < 10
    for k, (_, target) in enumerate(parts):
        assert target.exists() == (k not in failed)
        if k not in failed:
            assert numbers(target) == list(range(5 * k, 5 * k + 5))
    assert not list(tmp_path.glob(".*"))


def test_where_nothing_can_be_copied_there_is_no_copy_to_use(tmp_path, capsys):
    (tmp_path / "list.csv").write_text("path,label\ngone.mp4,a\nalso_gone.mp4,b\n")
    out = tmp_path / "out"
    assert main(["data", "transcode", str(tmp_path / "list.csv"), str(out), "--workers", "0"]) == 2
    captured = capsys.readouterr()
    assert "use it with" not in captured.out
    assert f"no video could be copied; for example {tmp_path}/gone.mp4: no such file; {out}/" in captured.err
    assert (out / FAILED).read_text().count("no such file") == 2


def test_a_segment_behind_the_end_is_named(tmp_path):
    video = write_video(tmp_path / "tiny.mp4", 5)
    root = layouts.finegym(tmp_path / "in", video, cut=False)
    with pytest.raises(DataError, match=r"for example .*: no frame from 0.6 to 1 s; it is 0.2 s long"):
        copied(f"gym99:{root}", tmp_path / "out")
    reasons = (tmp_path / "out" / FAILED).read_text()
    assert "from 0 to 0.8 s is asked for, but it is only 0.2 s long" in reasons


def test_places_that_cannot_hold_a_copy(tmp_path, good_video):
    root = layouts.build(tmp_path / "in", good_video, ["a.mp4"], {})
    with pytest.raises(DataError, match="lies inside the data set"):
        copied(root, root / "copy")
    other = layouts.build(tmp_path / "other", good_video, ["a.mp4"], {})
    with pytest.raises(DataError, match="is not empty and contains no training copy"):
        copied(root, other)
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be used for the copy"):
        copied(root, tmp_path / "file" / "out")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(DataError, match="no video to copy"):
        copied(empty, tmp_path / "out")


def test_command(tmp_path, good_video, capsys):
    root = layouts.build(tmp_path / "in", good_video, ["a.mp4", "b.mp4"], {"c.mp4": "no video"})
    command = ["data", "transcode", str(root), str(tmp_path / "out"), "--short-side", "32", "--gop", "5"]
    assert main([*command, "--workers", "2"]) == 0
    out = capsys.readouterr().out
    size = 2 * good_video.stat().st_size / 1e6
    assert f"2 videos written: {size:,.1f} MB before" in out
    assert "1 could not be copied" in out
    assert f"use it with --data {tmp_path / 'out'}" in out
    info = probe_video(tmp_path / "out" / "b.mp4")
    assert (info.width, info.height) == (48, 32)
    assert info.keyframes.tolist() == list(range(0, 50, 5))
    assert main([*command, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["written"], report["kept"], len(report["failed"])) == (0, 2, 1)
    assert main(["data", "transcode", str(root), str(root / "x")]) == 2
    assert capsys.readouterr().err.startswith("bodvcl data transcode: error: ")
    assert main(["data", "transcode", str(root), "out", "--short-side", "33"]) == 2
    assert "--short-side: input should be a multiple of 2, got 33" in capsys.readouterr().err
