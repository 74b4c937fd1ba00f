"""A file that did not change is checked once; what was learnt survives, faults as well."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
from contextlib import closing
from dataclasses import fields

import numpy as np
import pytest
from video_files import VARIABLE, varied_copy, write_video

from bodvcl.config.schema import ClipConfig
from bodvcl.data.files import check
from bodvcl.data.files.check import check_files
from bodvcl.data.files.index import VideoIndex, default_index, stamp
from bodvcl.data.files.probing import probe_video
from bodvcl.data.files.scan import scan
from bodvcl.data.files.video import BadVideo
from bodvcl.data.workers import each
from bodvcl.data.workers.pool import WorkerDied, WorkerPool
from bodvcl.errors import DataError


@pytest.fixture
def index_file(tmp_path, monkeypatch):
    path = tmp_path / "cache" / "videos.sqlite"
    monkeypatch.setenv("BODVCL_INDEX", str(path))
    return path


@pytest.fixture
def probes(monkeypatch) -> list[str]:
    """The files that are opened from now on."""
    opened: list[str] = []

    def counted(path):
        opened.append(os.path.basename(path))
        return probe_video(path)

    monkeypatch.setattr(check, "probe_video", counted)
    return opened


def quiet(source, **options):
    return scan(source, clip=ClipConfig(frames=8, stride=2), progress=False, workers=0, **options)


def test_a_second_scan_opens_no_file(video_folder, index_file, probes):
    first = quiet(video_folder)
    assert len(probes) == first.checked == 12
    second = quiet(video_folder)
    assert len(probes) == 12
    assert second.checked == 0
    assert [video.path for video in second.videos] == [video.path for video in first.videos]
    assert second.summary() == first.summary()


def test_only_what_changed_is_opened_again(good_video, tmp_path, index_file, probes):
    folder = tmp_path / "videos"
    folder.mkdir()
    for name in ("a.mp4", "b.mp4", "c.mp4"):
        varied_copy(good_video, folder / name)
    (folder / "broken.mp4").write_text("no video")
    assert len(quiet(folder).videos) == 3
    probes.clear()
    status = os.stat(folder / "b.mp4")
    os.utime(folder / "b.mp4", ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    with open(folder / "c.mp4", "ab") as file:
        file.write(b"\0")
    varied_copy(good_video, folder / "new.mp4")
    result = quiet(folder)
    assert sorted(probes) == ["b.mp4", "c.mp4", "new.mp4"]
    assert [reason for _, reason in result.skipped] == [quiet(folder).skipped[0][1]]
    assert "not readable" in result.skipped[0][1]


def test_a_file_that_was_not_there_is_looked_for_again(good_video, tmp_path, index_file):
    (tmp_path / "list.csv").write_text("path\na.mp4\nb.mp4\n")
    shutil.copy2(good_video, tmp_path / "a.mp4")
    assert quiet(tmp_path / "list.csv").skipped == [(str(tmp_path / "b.mp4"), "no such file")]
    shutil.copy2(good_video, tmp_path / "b.mp4")
    assert quiet(tmp_path / "list.csv").skipped == []


def test_everything_that_is_known_of_a_video_survives(tmp_path, index_file):
    paths = [
        write_video(tmp_path / "constant.mp4"),
        write_video(tmp_path / "variable.mkv", stamps=VARIABLE),
        write_video(tmp_path / "sequential.avi", codec="mpeg4"),
    ]
    for path in map(str, paths):
        info, at = probe_video(path), stamp(path)
        with VideoIndex() as index:
            index.store([(at, info)])
        with VideoIndex() as index:
            back = index.lookup({path: at})[path]
        for f in fields(info):
            before, after = getattr(info, f.name), getattr(back, f.name)
            if isinstance(before, np.ndarray):
                assert before.dtype == after.dtype
                np.testing.assert_array_equal(before, after)
            else:
                assert before == after, f.name


def test_names_that_are_no_text(good_video, tmp_path, index_file):
    name = os.fsdecode(bytes(tmp_path) + b"/\xff\xfe.mp4")
    shutil.copy2(good_video, name)
    at = stamp(name)
    with VideoIndex() as index:
        index.store([(at, BadVideo(name, "why"))])
        assert str(index.lookup({name: at})[name].reason) == "why"


def test_many_files_at_once(tmp_path, index_file, good_video):
    info = probe_video(str(good_video))
    with VideoIndex() as index:
        index.store(((7, number), BadVideo(f"/nowhere/{number}", f"{number}")) for number in range(2000))
        index.store([((1, 2), info)])
        known = index.lookup({f"/nowhere/{number}": (7, number) for number in range(0, 2000, 2)})
    assert {path: bad.reason for path, bad in known.items()} == {
        f"/nowhere/{number}": str(number) for number in range(0, 2000, 2)
    }


def test_a_scan_that_is_interrupted_keeps_what_it_learnt(video_folder, index_file, monkeypatch):
    paths = sorted(str(path) for path in video_folder.rglob("*.mp4"))
    real = check.probe_video

    def until_the_sixth(path):
        if path == paths[5]:
            raise KeyboardInterrupt
        return real(path)

    monkeypatch.setattr(check, "probe_video", until_the_sixth)
    with pytest.raises(KeyboardInterrupt), VideoIndex() as index:
        check_files(paths, index, workers=0, progress=False)
    with VideoIndex() as index:
        assert sorted(index.lookup({path: stamp(path) for path in paths})) == paths[:5]


def test_a_file_that_crashes_the_decoder_is_named_and_the_others_are_checked(
    video_folder, index_file, monkeypatch
):
    paths = sorted(str(path) for path in video_folder.rglob("*.mp4"))
    real = check.probe_video

    def crash(path):
        if path == paths[4]:
            os.kill(os.getpid(), signal.SIGTRAP)
        if path == paths[9]:
            os._exit(3)
        return real(path)

    monkeypatch.setattr(check, "probe_video", crash)
    with VideoIndex() as index:
        results, checked = check_files(paths, index, workers=3, progress=False)
    assert checked == 12
    assert list(results) == paths
    bad = {path: result.reason for path, result in results.items() if isinstance(result, BadVideo)}
    assert bad == {
        paths[4]: "crashes the decoder (SIGTRAP)",
        paths[9]: "crashes the decoder (exit code 3)",
    }
    with VideoIndex() as index:
        assert index.lookup({paths[4]: stamp(paths[4])})[paths[4]].reason == bad[paths[4]]


def test_a_file_that_hangs_is_given_up_but_not_remembered(video_folder, index_file, monkeypatch):
    paths = sorted(str(path) for path in video_folder.rglob("*.mp4"))[:4]

    class Impatient(WorkerPool):
        def receive(self):
            if self._pending[0][1] == 1:
                raise WorkerDied(-signal.SIGKILL, 1, 1, hung=True)
            return super().receive()

    monkeypatch.setattr(each, "WorkerPool", Impatient)
    with VideoIndex() as index:
        results, _ = check_files(paths, index, workers=2, progress=False)
        assert results[paths[1]].reason == "not read within 600 seconds"
        assert sorted(index.lookup({path: stamp(path) for path in paths})) == [paths[0], *paths[2:]]


def test_without_a_place_for_the_index_the_scan_goes_on(video_folder, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("BODVCL_INDEX", str(tmp_path / "file" / "videos.sqlite"))
    with pytest.warns(UserWarning, match="cannot be written.*BODVCL_INDEX"):
        assert len(quiet(video_folder).videos) == 12


def test_another_file_in_its_place_is_refused(video_folder, index_file):
    index_file.parent.mkdir()
    index_file.write_text("something else, long enough to be no header of a database\n" * 50)
    with pytest.raises(DataError, match=r"not an index of videos.*delete it"):
        quiet(video_folder)


def test_a_damaged_index_is_refused(video_folder, index_file):
    quiet(video_folder)
    data = bytearray(index_file.read_bytes())
    data[200:] = b"\xa5" * len(data[200:])
    index_file.write_bytes(data)
    with pytest.raises(DataError, match=r"videos.sqlite: not an index of videos"):
        quiet(video_folder)
    index_file.unlink()
    assert quiet(video_folder).checked == 12


def test_another_database_is_refused(video_folder, index_file):
    index_file.parent.mkdir()
    with closing(sqlite3.connect(index_file)) as database:
        database.execute("CREATE TABLE videos (name TEXT)")
    with pytest.raises(DataError, match="not an index of videos"):
        quiet(video_folder)


def test_where_the_index_is(monkeypatch, tmp_path):
    monkeypatch.delenv("BODVCL_INDEX")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_index() == tmp_path / "bodvcl" / "videos.sqlite"
