"""A run goes on with the videos that it began with, or says what became of them."""

from __future__ import annotations

import shutil
import struct
from pathlib import Path

import pytest
import torch

from bodvcl.cli.train import main
from bodvcl.data.files.video import BadVideo
from bodvcl.data.files.video_list import VideoList
from bodvcl.data.sources import pyav_clips
from bodvcl.engine.checkpoint import LAST
from bodvcl.engine.reporter import Reporter

QUIET = ["--log.no-probe", "--log.no-report"]


@pytest.fixture
def begun(tiny, shapes_cache, finished_run, tmp_path) -> tuple[Path, Path]:
    """A folder of eight videos, and a run on it that has done one step."""
    data, run = tmp_path / "data", tmp_path / "r"
    (data / "b").mkdir(parents=True)
    for number, video in enumerate(sorted(shapes_cache.rglob("*.mp4"))[:8]):
        shutil.copyfile(video, data / ("b" if number % 2 else ".") / f"v{number}.mp4")
    options = ["--data", str(data), "--max-steps", "1", "--run-dir", str(run)]
    assert main([*tiny, *QUIET, *options]) == 0
    return data, run


def go_on(run: Path, *options: str) -> int:
    return main(["--resume", "--run-dir", str(run), "--max-steps", "2", *options])


def vanish(data: Path, spare: Path) -> str:
    (data / "b" / "v1.mp4").unlink()
    return "1 vanished (b/v1.mp4)"


def appear(data: Path, spare: Path) -> str:
    (data / "c").mkdir()
    shutil.copyfile(spare, data / "c" / "1.mp4")
    other = struct.pack(">I4s", 8, b"free")  # a box that holds nothing: the same bytes would be one video
    (data / "c" / "2.mp4").write_bytes(spare.read_bytes() + other)
    return "2 appeared (c/1.mp4, c/2.mp4)"


def change(data: Path, spare: Path) -> str:
    shutil.copyfile(spare, data / "v0.mp4")
    return "1 changed (v0.mp4)"


def rename(data: Path, spare: Path) -> str:
    (data / "v0.mp4").rename(data / "x.mp4")
    return "1 appeared (x.mp4), 1 vanished (v0.mp4)"


def overwrite(data: Path, spare: Path) -> str:
    """Other bytes in a file of the same size, with the same frames."""
    content = bytearray((data / "v0.mp4").read_bytes())
    place = content.index(b"mdat") + 4 + 200
    content[place] ^= 1
    (data / "v0.mp4").write_bytes(content)
    return "1 changed (v0.mp4)"


@pytest.mark.parametrize("become_other", [vanish, appear, change, rename, overwrite])
def test_other_videos_are_named_and_refused_unless_asked_for(begun, shapes_cache, capsys, become_other):
    data, run = begun
    said = become_other(data, sorted(shapes_cache.rglob("*.mp4"))[9])
    before = (
        (run / LAST).read_bytes(),
        (run / "metrics.jsonl").read_bytes(),
        (run / "config.yaml").read_bytes(),
    )
    capsys.readouterr()
    assert go_on(run) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert f"{run / LAST} was trained on other videos: {said}; put the files back" in error
    assert "--resume-with-other-videos" in error
    after = (
        (run / LAST).read_bytes(),
        (run / "metrics.jsonl").read_bytes(),
        (run / "config.yaml").read_bytes(),
    )
    assert after == before
    assert go_on(run, "--resume-with-other-videos") == 0
    assert f"changed since the checkpoint: the videos: {said}" in capsys.readouterr().out
    assert go_on(run, "--max-steps", "3") == 0  # they are now the run's own


def test_leave_to_go_on_is_given_once(begun, capsys):
    data, run = begun
    (data / "v0.mp4").unlink()
    assert go_on(run, "--resume-with-other-videos") == 0
    (data / "v2.mp4").unlink()
    capsys.readouterr()
    assert go_on(run, "--max-steps", "3") == 2
    assert "1 vanished (v2.mp4)" in capsys.readouterr().err


@pytest.mark.parametrize("how", ["moved", "link"])
def test_the_same_files_at_another_place_are_accepted(begun, tmp_path, capsys, how):
    data, run = begun
    there = tmp_path / "elsewhere" / "videos"
    there.parent.mkdir()
    if how == "moved":
        shutil.copytree(data, there)
        shutil.rmtree(data)
    else:
        there.symlink_to(data)
    assert go_on(run, "--data", str(there)) == 0
    said = capsys.readouterr().out
    assert f"changed since the checkpoint: data was {data}, now {there}" in said
    assert f"the videos have moved from {data} to {there}: the same 8 files" in said


def test_a_run_on_videos_that_moved_goes_on_bit_for_bit(begun, tiny, tmp_path, capsys):
    data, run = begun
    stay, there = tmp_path / "stay", tmp_path / "a b" / "c"
    shutil.copytree(data, tmp_path / "copy")
    there.parent.mkdir()
    data.rename(there)
    assert go_on(run) == 2
    assert "if the data of the run have moved, give their new place with --data" in capsys.readouterr().err
    assert main(["--resume", "--run-dir", str(run), "--max-steps", "4", "--data", str(there), *QUIET]) == 0
    options = ["--data", str(tmp_path / "copy"), "--max-steps", "4", "--run-dir", str(stay)]
    assert main([*tiny, *QUIET, *options]) == 0
    one, other = (torch.load(r / LAST, weights_only=True) for r in (run, stay))
    assert all(torch.equal(one["learner"][name], value) for name, value in other["learner"].items())
    assert go_on(run, "--max-steps", "5") == 0  # the new place is now the run's own


def test_a_list_of_an_older_version_has_no_fingerprints(begun, tmp_path, capsys):
    data, run = begun
    state = torch.load(run / LAST, weights_only=True)
    videos = VideoList.load(state["videos"])
    old = VideoList(videos.root, tuple((name, facts[:4]) for name, facts in videos.files))
    assert old != videos
    torch.save({**state, "videos": old.dump()}, run / LAST)
    data.rename(tmp_path / "moved")
    assert go_on(run, "--data", str(tmp_path / "moved")) == 0
    assert "the videos have moved" in capsys.readouterr().out


def test_other_data_is_refused_by_name_where_one_is_built_in(begun, capsys):
    _, run = begun
    assert go_on(run, "--data", "shapes") == 2
    assert "belongs to another configuration (data was" in capsys.readouterr().err


def test_a_checkpoint_of_a_version_that_kept_no_list_goes_on(begun, capsys):
    data, run = begun
    state = torch.load(run / LAST, weights_only=True)
    del state["videos"]
    torch.save(state, run / LAST)
    assert go_on(run, "--data", str(data.parent)) == 2
    assert "data was" in capsys.readouterr().err
    (data / "v0.mp4").unlink()
    assert go_on(run) == 0


def test_leave_to_go_on_without_anything_to_go_on_from_is_refused(tiny, tmp_path, capsys):
    assert main([*tiny, "--resume-with-other-videos", "--run-dir", str(tmp_path / "r")]) == 2
    said = capsys.readouterr().err
    assert "resume_with_other_videos: only a resumed run can have other videos; add --resume" in said


def test_a_share_that_is_gone_ends_the_run_and_loses_no_step(begun, tiny, tmp_path, capsys, monkeypatch):
    """As when a network share is lost: from the third step on no file can be read."""
    data, run = begun
    away = tmp_path / "away"
    read = pyav_clips.load_clips

    def load_clips(info, *rest):
        if lost:
            raise BadVideo(info.path, "Stale file handle")
        return read(info, *rest)

    lost = False
    monkeypatch.setattr(pyav_clips, "load_clips", load_clips)
    told = Reporter.step

    def step(self, number, *rest):
        nonlocal lost
        lost = number == 2
        return told(self, number, *rest)

    monkeypatch.setattr(Reporter, "step", step)
    keep = ["--decode.keep", "0", "--workers", "0"]
    assert main(["--resume", "--run-dir", str(run), "--max-steps", "4", *keep, *QUIET]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "Stale file handle" in error
    saved = int(torch.load(run / LAST, weights_only=True)["step"])
    assert saved >= 2
    monkeypatch.undo()
    lost = False
    assert main(["--resume", "--run-dir", str(run), "--max-steps", "4", *keep, *QUIET]) == 0
    assert main([*tiny, *QUIET, "--data", str(data), "--max-steps", "4", "--run-dir", str(away)]) == 0
    one, other = (torch.load(r / LAST, weights_only=True)["learner"] for r in (run, away))
    assert all(torch.equal(one[name], other[name]) for name in one)
