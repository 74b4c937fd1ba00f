"""`bodvcl data scan`: what a person and a program read about a data set."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import layouts
import pytest
from video_files import write_video

from bodvcl.cli.data import ACTIONS
from bodvcl.cli.data_scan import fault_kind
from bodvcl.cli.data_transcode import TranscodeOptions
from bodvcl.cli.main import main
from bodvcl.config.command_line import parse
from bodvcl.data.files.copies import CopySettings
from bodvcl.data.files.probing import probe_video
from bodvcl.data.files.video import BadVideo
from bodvcl.data.made import shapes


@pytest.fixture
def mixed(tmp_path, monkeypatch) -> Path:
    """Two splits, two codecs, two kinds of faults, two missing files."""
    monkeypatch.setenv("BODVCL_INDEX", str(tmp_path / "videos.sqlite"))
    folder = tmp_path / "mixed"
    for number in range(3):
        write_video(folder / f"{number}.mp4", 25, gop=7 + number)
    write_video(folder / "3.avi", 25, codec="mpeg4")
    write_video(folder / "4.mkv", 25, stamps=[i * 40 + (i % 7) * 3 for i in range(25)])
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "text [bold].mp4").write_text("no video")
    (folder / "more.mp4").write_text("no video")
    rows = [
        "path,split,what",
        *(f"{n}.mp4,train,turn left" for n in range(3)),
        "3.avi,test,run",
        "4.mkv,test,run",
    ]
    rows += ["empty.mp4,train,run", "text [bold].mp4,train,run", "more.mp4,test,run", "gone.mp4,test,run"]
    (folder / "list.csv").write_text("\n".join(rows) + "\n")
    return folder / "list.csv"


def test_the_table_counts_splits_and_faults(mixed, capsys):
    assert main(["data", "scan", str(mixed), "--workers", "2"]) == 0
    out = capsys.readouterr().out
    lines = {" ".join(line.split()) for line in out.splitlines()}
    assert "split videos hours what" in lines
    assert "train 3 0.00 1" in lines
    assert "test 2 0.00 1" in lines
    assert any(
        line.startswith("not readable as a video (Invalid data") and line.endswith(" 2") for line in lines
    )
    assert "empty file (N bytes) 1" in lines
    assert "text [bold].mp4: not readable" in out
    assert "1 video without usable timestamps" in out
    assert "1 video with a variable frame rate" in out
    assert "'turn left' says left or right: train with --augment.flip 0" in out
    assert f"9 files checked, 0 known already; index: {mixed.parent.parent / 'videos.sqlite'}" in out
    assert main(["data", "scan", str(mixed)]) == 0
    assert "1 file checked, 8 known already" in capsys.readouterr().out  # the one that is not there


@pytest.mark.parametrize("width", [80, 60, 40, 20, None])
def test_no_name_is_cut(tmp_path, monkeypatch, capsys, width):
    monkeypatch.setenv("BODVCL_INDEX", str(tmp_path / "videos.sqlite"))
    monkeypatch.delenv("COLUMNS", raising=False)
    if width is not None:
        monkeypatch.setenv("COLUMNS", str(width))
    write_video(tmp_path / "one.mp4", 25)
    columns = [f"{name}_of_the_object" for name in ("shape", "colour", "trajectory", "material", "size")]
    reason = "a_reason_" * 12
    monkeypatch.setattr("bodvcl.data.files.check.probe_video", _refuses("two.mp4", reason))
    (tmp_path / "two.mp4").write_bytes(b"")
    split = "a_split_with_a_name"
    rows = [f"{name}.mp4,{split},a,b,c,d,e" for name in ("one", "two")]
    (tmp_path / "list.csv").write_text("\n".join([",".join(["path", "split", *columns]), *rows]) + "\n")
    assert main(["data", "scan", str(tmp_path / "list.csv"), "--workers", "0"]) == 0
    out = capsys.readouterr().out
    assert "\N{HORIZONTAL ELLIPSIS}" not in out
    tables = out[out.index("usable videos") : out.index("at most")]
    assert all(any(word in line for line in tables.splitlines()) for word in (split, *columns, reason)), (
        tables
    )
    if width is not None:  # what is one word is left to the terminal, which wraps it
        longest = max(len(line.rstrip()) for line in tables.splitlines() if reason not in line)
        assert longest <= max(width, len(f"    classes of {max(columns, key=len)}"))


def _refuses(name, reason):
    def probe(path):
        if Path(path).name == name:
            raise BadVideo(path, reason)
        return probe_video(path)

    return probe


def test_json(mixed, capsys):
    assert main(["data", "scan", str(mixed), "--json", "--workers", "0"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["splits"] == {"train": 3, "test": 2}
    assert (report["videos"], report["frames"]) == (5, 125)
    assert report["codecs"] == {"h264": 4, "mpeg4": 1}
    assert report["classes"] == {"what": ["run", "turn left"]}
    assert report["flip_allowed"] is False
    assert (report["variable_rate"], report["without_timestamps"], report["rotated"]) == (1, 1, 0)
    assert report["frames_between_key_frames"] == 25
    assert [Path(fault["path"]).name for fault in report["faults"]] == [
        "empty.mp4", "text [bold].mp4", "more.mp4", "gone.mp4",
    ]  # fmt: skip


def test_missing_videos_of_an_official_list_are_counted_and_named(tmp_path, good_video, capsys):
    root = layouts.diving48(tmp_path, good_video)
    assert main(["data", "scan", f"diving48:{root}", "--workers", "0"]) == 0
    out = capsys.readouterr().out
    assert "missing 1 video of 3 listed:\n  gone_00002.mp4" in out
    assert "listed, but not there" in out


def test_mistakes(capsys, tmp_path):
    assert main(["data", "scan", str(tmp_path / "nowhere")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("bodvcl data scan: error: ")
    assert error.count("\n") == 1
    for argv, message in (
        (["data"], "no action; there are: scan, show, transcode"),
        (["data", "scna"], "no action 'scna' (did you mean scan?)"),
        (["data", "scan"], "missing: DATA"),
        (["data", "scan", "x", "--wrokers", "1"], "unknown option --wrokers (did you mean --workers?)"),
        (["data", "scan", "x", "--workers", "-1"], "--workers: input should be greater than or equal to 0"),
        (["data", "scan", "x", "--workers", "1025"], "--workers: input should be less than or equal to 1024"),
        (["data", "transcode", "x"], "missing: FOLDER"),
        (
            ["data", "transcode", "x", "y", "--short-side", "33"],
            "--short-side: input should be a multiple",
        ),
        (["data", "transcode", "x", "y", "--crf", "52"], "--crf: input should be less than or equal to 51"),
    ):
        assert main(argv) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1


@pytest.mark.parametrize("action", ACTIONS)
def test_every_action_has_help(action, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["data", action, "--help"])
    assert stop.value.code == 0
    assert f"usage: bodvcl data {action}" in capsys.readouterr().out


def test_a_copy_has_the_same_defaults_on_the_command_line_and_in_python():
    options = parse(TranscodeOptions, ["data", "folder"], prog="bodvcl data transcode")
    assert CopySettings(options.short_side, options.gop, options.crf) == CopySettings()


def test_the_package_is_the_verb():
    command = [sys.executable, "-m", "bodvcl.data", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "usage: bodvcl data" in done.stdout
    assert all(action in done.stdout for action in ACTIONS)


def test_faults_are_counted_without_their_numbers():
    assert fault_kind("14 frames, needs 15.5") == "N frames, needs N"


def test_the_built_in_data_has_its_name(shapes_list, capsys, monkeypatch):
    monkeypatch.setattr(shapes, "prepare", lambda config, **options: shapes_list)
    assert main(["data", "scan", "shapes", "--workers", "0", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["splits"] == {"train": 16, "probe_train": 8, "probe_test": 8}
    assert set(report["classes"]) == {"background", "shape", "brightness", "trajectory"}


def test_videos_listed_twice_and_what_training_takes(tmp_path, capsys):
    for number in range(3):
        write_video(tmp_path / f"{number}.mp4", 19 + number)
    (tmp_path / "link.mp4").symlink_to("0.mp4")
    rows = ["0.mp4,Train,a", "link.mp4,train,b", "0.mp4,test,a", "1.mp4,Test,a", "2.mp4,odd,a"]
    (tmp_path / "list.csv").write_text("\n".join(["path,split,label", *rows]) + "\n")
    command = ["data", "scan", str(tmp_path / "list.csv"), "--workers", "0"]
    assert main(command) == 0
    out = capsys.readouterr().out
    assert "found 3 videos" in out
    assert "3 entries are only 1 video; each counts once per split; 1 both in train and in test" in out
    assert (
        f"{tmp_path / '0.mp4'} (2 x train, 1 x test), also as {tmp_path / 'link.mp4'}; different labels"
        in out
    )
    assert "bodvcl train trains on 1 of 3 videos: split train; left out: test (1), odd (1)" in out
    assert main([*command, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["videos"], report["frames"], report["codecs"], report["trains_on"]) == (
        3,
        60,
        {"h264": 3},
        1,
    )
    assert report["splits"] == {"train": 1, "test": 2, "odd": 1}
    assert report["repeats"] == [
        {
            "path": str(tmp_path / "0.mp4"),
            "others": [str(tmp_path / "link.mp4")],
            "splits": {"train": 2, "test": 1},
            "disputed": ["label"],
            "trains_and_tests": True,
        }
    ]
    (tmp_path / "list.csv").write_text("path,split\n1.mp4,testing\n")
    assert main(command) == 0
    assert (
        "no video to train on: its splits are test (1), which are never used for training"
        in capsys.readouterr().out
    )
