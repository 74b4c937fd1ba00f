"""Videos in tar files train like videos in a folder; bad tar files are refused in one line."""

from __future__ import annotations

import dataclasses
import gc
import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from tar_files import in_tars, web_server, write_tar
from video_files import write_video

from bodvcl.config.schema import AugmentConfig, ClipConfig
from bodvcl.data.clips.plan import ClipPlan
from bodvcl.data.files import columns
from bodvcl.data.files.clip_fit import why_unfit
from bodvcl.data.files.scan import scan
from bodvcl.data.files.scan_summary import summary_lines
from bodvcl.data.files.tars import check
from bodvcl.data.files.training_part import first_of_same
from bodvcl.data.files.video_list import difference, list_videos
from bodvcl.data.sets import open_dataset
from bodvcl.data.sources.pyav_source import PyAVSource
from bodvcl.data.tars import held
from bodvcl.data.tars.held import Held, HeldError, held_bytes, held_file
from bodvcl.data.tars.names import expanded
from bodvcl.errors import DataError

pytest.importorskip("pyarrow")

CLIP = ClipConfig(frames=4, stride=2, size=32)
ANY = dataclasses.replace(CLIP, frames=1, stride=1)


@pytest.fixture(autouse=True)
def own_index(tmp_path, monkeypatch):
    monkeypatch.setenv("BODVCL_INDEX", str(tmp_path / "index" / "videos.sqlite"))
    monkeypatch.setattr(held, "_WAITS", (0.0, 0.0))


@pytest.fixture(scope="module")
def films(tmp_path_factory) -> list[Path]:
    """Nine videos in several formats, sorted by name."""
    folder = tmp_path_factory.mktemp("films")
    uneven = [i * 40 + i % 7 * 3 for i in range(33)]
    write_video(folder / "a.mp4", 30)
    write_video(folder / "b.mp4", 31, rotation=90, size=(64, 80))
    write_video(folder / "c.avi", 32, codec="mpeg4")
    write_video(folder / "d.mkv", 33, stamps=uneven)
    write_video(folder / "e.webm", 34, codec="libvpx", options={"cpu-used": "8", "deadline": "realtime"})
    write_video(folder / "f.ts", 35)
    write_video(folder / "g.mp4", 36, movflags="frag_keyframe+empty_moov")
    write_video(folder / "h.mp4", 37, size=(64, 80))
    write_video(folder / "i.mov", 38)
    return sorted(folder.iterdir())


@pytest.fixture(scope="module")
def tars(films, tmp_path_factory) -> Path:
    """Folder of three tar files of three videos each, in the order of the folder."""
    folder = tmp_path_factory.mktemp("tars")
    in_tars(films, folder, 3)
    return folder


def found(spec: str | Path, clip: ClipConfig | None = ANY, workers: int = 0):
    return scan(os.fspath(spec), clip=clip, workers=workers, progress=False)


def batches(videos, workers: int, epochs: int = 2):
    plan = ClipPlan(videos, CLIP, AugmentConfig(), 4, seed=3)
    source = PyAVSource(plan, workers=workers, max_bad=0)
    try:
        return [batch for epoch in range(epochs) for batch in source.epoch(epoch)]
    finally:
        source.close()


@pytest.mark.parametrize("workers", [0, 2])
def test_the_batches_are_those_of_the_folder(films, tars, workers):
    ours = batches(found(tars / "train-{000..002}.tar").training(), workers)
    theirs = batches(found(films[0].parent).training(), workers)
    assert len(ours) == len(theirs) == 4
    for own, other in zip(ours, theirs):
        assert torch.equal(own.clips, other.clips)
        assert torch.equal(own.videos, other.videos)
        assert torch.equal(own.frames, other.frames)


def test_a_video_in_a_tar_file_is_known_as_well_as_one_in_a_folder(films, tars):
    tars = found(tars).videos
    folder = found(films[0].parent).videos
    assert [Path(v.path).name for v in tars] == [Path(v.path).name for v in folder]
    for inside, alone in zip(tars, folder):
        for field in dataclasses.fields(alone):
            if field.name not in ("path", "held", "fingerprint"):
                assert np.array_equal(getattr(inside, field.name), getattr(alone, field.name)), field.name
        assert inside.held.size == os.path.getsize(alone.path)
        assert inside.path == f"{inside.held.whole}/{Path(alone.path).name}"


def test_columns_of_a_table_are_those_of_a_list(tars):
    table = found(tars).videos
    for videos in (table, table[2:8], table.taken(np.array([7, 1, 1, 4]))):
        alike = [*videos]
        assert len(videos) == len(alike)
        names = ("frames", "width", "duration", "sequential", "jumps", "variable_rate", "longest_group")
        for name in names:
            assert columns.numbers(videos, name).tolist() == columns.numbers(alike, name).tolist(), name
        for fields in (["codec"], ["width", "height"], ["pixel_format", "frames", "fps"]):
            ours, theirs = columns.kinds(videos, fields), columns.kinds(alike, fields)
            assert [part.tolist() for part in ours] == [part.tolist() for part in theirs]
        assert columns.counts(videos, "width", "codec") == columns.counts(alike, "width", "codec")
        assert len(first_of_same(videos)) == len(first_of_same(alike))
        data = open_dataset(tars)
        assert summary_lines(data, videos, [], [], 10) == summary_lines(data, alike, [], [], 10)
    with pytest.raises(IndexError, match="video 9 of 9"):
        table[9]
    assert table[-1].path == table[8].path


def test_a_table_travels_as_the_name_of_its_file(tars):
    part = found(tars).videos[3:6]
    sent = pickle.dumps(part)
    assert len(sent) < 1000
    assert [v.path for v in pickle.loads(sent)] == [v.path for v in part]
    part.file.unlink()
    with pytest.raises(DataError, match=r"cannot be read here .*BODVCL_INDEX"):
        pickle.loads(sent)


@pytest.mark.parametrize("fps", [None, 5.0, 12.5])
@pytest.mark.parametrize("frames", [3, 8, 9])
def test_too_short_videos_are_found_as_one_by_one(tars, fps, frames):
    clip = ClipConfig(frames=frames, stride=4, size=32, fps=fps)
    everything = found(tars, None).videos
    expected = {v.path: reason for v in everything if (reason := why_unfit(v, clip)) is not None}
    if len(expected) == len(everything):
        with pytest.raises(DataError, match="none of its 9 video files can be used"):
            found(tars, clip)
        return
    scanned = found(tars, clip)
    assert dict(scanned.skipped) == expected
    assert [v.path for v in scanned.videos] == [v.path for v in everything if v.path not in expected]


def test_labels_and_splits_stand_beside_the_videos(films, tmp_path):
    write_tar(
        tmp_path / "x.tar",
        {"dir/one.mp4": films[0], "two.mp4": films[1], "three.avi": films[2], "four.mkv": films[3]},
        {
            "dir/one.cls": "7\n",
            "two.json": {"label": "jump", "split": "Validation", "caption": "a long text"},
            "three.json": "not JSON",
            "four.json": {"label": 3, "split": "trainset"},
        },
    )
    scanned = found(tmp_path / "x.tar")
    told = {Path(v.path).name: (v.labels, v.split) for v in scanned.videos}
    assert told == {
        "one.mp4": ({"label": "7"}, ""),
        "two.mp4": ({"label": "jump"}, "val"),
        "three.avi": ({}, ""),
        "four.mkv": ({"label": "3"}, "train"),
    }
    assert scanned.data.classes == {"label": ("3", "7", "jump")}
    assert columns.label_names(scanned.videos, "label") == {"3", "7", "jump"}
    part = scanned.training_part()
    assert [Path(v.path).name for v in part.videos] == ["four.mkv"]
    assert "trains on 1 of 4 videos: split train; left out: no split (2), val (1)" in part.text


def test_folders_of_tar_files_are_splits(films, tmp_path):
    in_tars(films[:4], tmp_path / "train", 2)
    in_tars(films[4:], tmp_path / "test", 3)
    scanned = found(tmp_path)
    assert columns.counts(scanned.videos, "split") == {"test": 5, "train": 4}
    assert len(scanned.training()) == 4


def test_a_video_that_is_there_twice_trains_once(films, tmp_path):
    write_tar(tmp_path / "1.tar", {"a.mp4": films[0], "b.mp4": films[1]}, {"a.cls": "x"})
    write_tar(tmp_path / "2.tar", {"c.mp4": films[0], "d.avi": films[2]}, {"c.json": {"label": "x"}})
    write_tar(tmp_path / "3.tar", {"e.mp4": films[0]}, {"e.json": {"label": "y", "split": "test"}})
    scanned = found(tmp_path / "*.tar")
    assert [Path(v.path).name for v in scanned.videos] == ["a.mp4", "b.mp4", "d.avi", "e.mp4"]
    (repeat,) = scanned.repeats
    assert repeat.splits == {"": 2, "test": 1}
    assert "listed more than once" in "\n".join(scanned.summary())
    assert len(scanned.training()) == 3


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("a.tar", ["a.tar"]),
        ("a-{08..11}.tar", ["a-08.tar", "a-09.tar", "a-10.tar", "a-11.tar"]),
        ("a-{9..10}.tar", ["a-9.tar", "a-10.tar"]),
        ("{x,y}/{0..1}.tar", ["x/0.tar", "x/1.tar", "y/0.tar", "y/1.tar"]),
    ],
)
def test_braces(text, names):
    assert [*expanded(text)] == names


def test_what_is_no_range_is_refused():
    with pytest.raises(DataError, match=r"\{5\.\.2\} is not a range"):
        [*expanded("a-{5..2}.tar")]


@pytest.mark.parametrize("kept", [0.02, 0.5, 0.7])
def test_a_tar_file_that_ends_too_early_is_refused_and_the_others_stay_known(tars, tmp_path, kept):
    for tar in tars.iterdir():
        shutil.copy(tar, tmp_path)
    broken = tmp_path / "train-001.tar"
    whole = broken.read_bytes()
    broken.write_bytes(whole[: int(len(whole) * kept)])
    with pytest.raises(DataError, match=r"train-001\.tar: (truncated|not a tar file).*copy it again"):
        found(tmp_path)
    broken.write_bytes(whole)
    assert found(tmp_path).checked == 2  # the first one was finished
    assert found(tmp_path).checked == 0


def test_a_tar_file_cut_between_two_videos_is_refused(tars, tmp_path):
    first = found(tars).videos[0].held
    cut = tmp_path / "cut.tar"
    cut.write_bytes(Path(first.whole).read_bytes()[: -(-(first.start + first.size) // 512) * 512])
    with pytest.raises(DataError, match="truncated: it ends after 1 file without the mark of its end"):
        found(cut)


def test_a_compressed_tar_file_is_refused(tars, tmp_path):
    import gzip

    (tmp_path / "x.tar").write_bytes(gzip.compress((tars / "train-000.tar").read_bytes()))
    with pytest.raises(DataError, match="not a tar file, or a compressed one: unpack it"):
        found(tmp_path / "x.tar")


def test_a_changed_tar_file_is_checked_again(films, tmp_path):
    tar = write_tar(tmp_path / "x.tar", {"a.mp4": films[0]})
    assert found(tar).checked == 1
    write_tar(tar, {"b.mp4": films[1]})
    os.utime(tar, (1, 1))
    scanned = found(tar)
    assert scanned.checked == 1
    assert [Path(v.path).name for v in scanned.videos] == ["b.mp4"]


def test_a_damaged_video_in_a_good_tar_file_is_skipped(films, tmp_path):
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"no video")
    write_tar(tmp_path / "x.tar", {"a.mp4": films[0], "bad.mp4": bad, "read.txt": bad})
    ((path, reason),) = found(tmp_path / "x.tar").skipped
    assert path.endswith("x.tar/bad.mp4")
    assert "not readable as a video" in reason


def test_a_video_that_crashes_the_decoder_is_skipped_alone(tars, monkeypatch):
    probe = check.probe_video

    def crashes(name, place):
        if name.endswith("/b.mp4"):
            os._exit(11)
        return probe(name, place)

    monkeypatch.setattr(check, "probe_video", crashes)
    scanned = found(tars, workers=2)
    assert scanned.skipped == [(f"{tars}/train-000.tar/b.mp4", "crashes the decoder (exit code 11)")]
    assert len(scanned.videos) == 8


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("gone.tar", "cannot be read: No such file"),
        ("gone-*.tar", "no such tar file"),
        ("folder.tar/x.tar", "cannot be read: No such file"),
        ("train-{000,000}.tar", r"names 1 tar file more than once"),
        ("nosuch://host/x.tar", "Protocol not known: nosuch"),
    ],
)
def test_what_is_not_there_is_named(tars, name, reason):
    with pytest.raises(DataError, match=reason):
        found(name if "://" in name else tars / name)


def test_a_tar_file_that_vanishes_while_training(tars, tmp_path):
    shutil.copytree(tars, tmp_path / "t")
    videos = found(tmp_path / "t").training()
    plan = ClipPlan(videos, CLIP, AugmentConfig(), 4, seed=3)
    (tmp_path / "t" / "train-001.tar").unlink()
    source = PyAVSource(plan, workers=0, max_bad=1)
    batch = next(source.epoch(0))
    assert len(batch.videos) == 4
    assert set(batch.videos.tolist()).isdisjoint({3, 4, 5})
    for _ in source.epoch(1):
        pass
    assert set(source.failed.values()) == {"No such file or directory"}
    assert len(source.failed) == 3


def test_a_list_for_checkpoints_names_tar_files(tars, tmp_path):
    moved = shutil.copytree(tars, tmp_path / "elsewhere")
    before, now = list_videos(found(tars).videos), list_videos(found(moved).videos)
    assert [name for name, _ in before.files] == ["train-000.tar", "train-001.tar", "train-002.tar"]
    assert before == type(before).load(before.dump())
    assert difference(before, now) is None
    (moved / "train-002.tar").unlink()
    assert difference(before, list_videos(found(moved).videos)) == "1 vanished (train-002.tar)"


def test_the_window_of_a_member_is_a_file(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(bytes(range(200)))
    with held_file(Held(str(path), 50, 20)) as file:
        assert file.read() == bytes(range(50, 70))
        assert file.seek(-5, os.SEEK_END) == 15
        assert file.read(100) == bytes(range(65, 70))
        assert file.seek(30) == 30
        assert file.read() == b""
    with pytest.raises(HeldError, match="ends 50 bytes too early"):
        held_bytes(Held(str(path), 150, 100))


class TestUrls:
    @pytest.fixture(autouse=True)
    def needs(self):
        fsspec = pytest.importorskip("fsspec")
        pytest.importorskip("aiohttp")
        yield
        held._filesystem.cache_clear()
        fsspec.AbstractFileSystem.clear_instance_cache()  # ... with its connections
        gc.collect()

    def test_the_batches_are_those_of_the_folder(self, films, tars):
        with web_server(tars) as (address, asked):
            videos = found(f"{address}/train-{{000..002}}.tar").training()
            whole = asked.count("all")
            ours = batches(videos, 0, 1)
            assert asked.count("all") == whole  # while training only parts
        theirs = batches(found(films[0].parent).training(), 0, 1)
        assert all(torch.equal(own.clips, other.clips) for own, other in zip(ours, theirs, strict=True))

    def test_forked_workers_have_connections_of_their_own(self, tars):
        with web_server(tars) as (address, _):
            videos = found(f"{address}/train-{{000..002}}.tar", workers=2).training()
            alone, forked = batches(videos, 0, 1), batches(videos, 2, 1)
        assert all(torch.equal(own.clips, other.clips) for own, other in zip(alone, forked, strict=True))

    def test_it_is_known_the_next_time(self, tars):
        with web_server(tars) as (address, asked):
            assert found(f"{address}/train-000.tar").checked == 1
            asked.clear()
            assert found(f"{address}/train-000.tar").checked == 0
            assert "all" not in asked

    def test_a_server_that_stops_answering(self, tars):
        with web_server(tars) as (address, _):
            videos = found(f"{address}/train-000.tar").videos
        with pytest.raises(HeldError, match=r"\(3 tries\)"):
            held_bytes(videos[0].held)
        with pytest.raises(DataError, match=r"train-000\.tar: this tar file cannot be read: .*[Cc]onnect"):
            found(f"{address}/train-000.tar")

    def test_a_server_that_is_silent(self, tars, monkeypatch):
        monkeypatch.setattr(held, "_SILENCE", 0.5)
        with (
            web_server(tars, answers=False) as (address, _),
            pytest.raises(HeldError, match=r"no answer in time \(3 tries\)"),
        ):
            held_bytes(Held(f"{address}/train-000.tar", 0, 100))

    def test_a_missing_file(self, tars):
        with web_server(tars) as (address, _), pytest.raises(DataError, match="no such file"):
            found(f"{address}/gone.tar")

    def test_a_server_without_parts_of_files_is_refused(self, tars):
        with (
            web_server(tars, ranges=False) as (address, _),
            pytest.raises(DataError, match="its server sends only whole files"),
        ):
            found(f"{address}/train-000.tar")
