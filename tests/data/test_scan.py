"""A scan says what can be used, and what cannot and why, before training starts."""

from __future__ import annotations

import errno
import os

import pytest
from video_files import write_audio, write_video

from bodvcl.cli.main import main
from bodvcl.config.schema import ClipConfig
from bodvcl.data.files.scan import scan
from bodvcl.errors import DataError

CLIP = ClipConfig(frames=8, stride=2)


def quiet(source, clip=CLIP, **options):
    return scan(source, clip=clip, progress=False, **options)


def test_folder_of_any_depth(video_folder):
    result = quiet(video_folder)
    assert [video.frames for video in result.videos] == [30 + n for r in range(3) for n in range(r, 12, 3)]
    assert result.skipped == []
    assert [video.path for video in result.videos] == sorted(video.path for video in result.videos)
    text = "\n".join(result.summary())
    assert "found 12 videos" in text
    assert "25 fps" in text
    assert "30-41 frames" in text
    assert "80x48, h264" in text
    assert "skipped" not in text


def test_result_does_not_depend_on_threads(video_folder):
    one, many = quiet(video_folder, workers=1), quiet(video_folder, workers=7)
    assert [video.path for video in one.videos] == [video.path for video in many.videos]


def test_bad_files_are_named_with_their_reason(tmp_path):
    write_video(tmp_path / "good.mkv")
    write_video(tmp_path / "deep" / "er" / "short.mp4", 14)
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "text.MOV").write_text("no video")
    write_audio(tmp_path / "sound.mp4")
    (tmp_path / "notes.txt").write_text("ignored")
    result = quiet(tmp_path)
    reasons = {os.path.basename(path): reason for path, reason in result.skipped}
    assert [os.path.basename(video.path) for video in result.videos] == ["good.mkv"]
    assert reasons.keys() == {"empty.mp4", "text.MOV", "sound.mp4", "short.mp4"}
    assert "0 bytes" in reasons["empty.mp4"]
    assert "not readable" in reasons["text.MOV"]
    assert "audio" in reasons["sound.mp4"]
    assert "14 frames" in reasons["short.mp4"]
    assert "needs 15" in reasons["short.mp4"]
    text = "\n".join(result.summary())
    assert "skipped 4 files" in text
    assert "ignored 1 non-video file" in text
    assert str(tmp_path / "empty.mp4") in text
    assert "and 3 more" in "\n".join(result.summary(shown=1))


def test_short_videos_can_be_kept(tmp_path):
    write_video(tmp_path / "short.mp4", 5)
    result = quiet(tmp_path, ClipConfig(frames=8, stride=2, short="repeat"))
    assert [video.frames for video in result.videos] == [5]


def test_length_in_time_when_a_frame_rate_is_wanted(tmp_path):
    write_video(tmp_path / "a.mp4", 30, fps=25)
    needs = ClipConfig(frames=8, stride=2, fps=12.5)
    assert len(quiet(tmp_path, needs).videos) == 1
    with pytest.raises(DataError, match=r"30 frames, .* at 11 fps needs 32 "):
        quiet(tmp_path, ClipConfig(frames=8, stride=2, fps=11))


def test_list_with_labels_and_splits(tmp_path):
    write_video(tmp_path / "videos" / "a.mp4")
    write_video(tmp_path / "videos" / "b.noextension", container="mp4")
    text = "path,split,what\nvideos/b.noextension,train,cat\nvideos/a.mp4,test,dog\nvideos/c.mp4,test,dog\n"
    (tmp_path / "list.csv").write_text("\ufeff" + text, encoding="utf-8")
    result = quiet(tmp_path / "list.csv")
    assert [(v.split, v.labels) for v in result.videos] == [
        ("train", {"what": "cat"}),
        ("test", {"what": "dog"}),
    ]
    assert [video.labels["what"] for video in result.split("test")] == ["dog"]
    assert result.skipped == [(str(tmp_path / "videos/c.mp4"), "no such file")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("file,label\na.mp4,1\n", "no column named path"),
        ("", "no column named path"),
        ("path,label\n", "no row"),
        ("path,label\na.mp4\n", "row 2"),
        ("path,label\na.mp4,1,2\n", "row 2"),
        ("path,label\na.mp4,1\n", "no such file"),
    ],
)
def test_bad_lists(tmp_path, content, message):
    (tmp_path / "list.csv").write_text(content)
    with pytest.raises(DataError, match=message):
        quiet(tmp_path / "list.csv")


def test_binary_list(tmp_path):
    (tmp_path / "list.csv").write_bytes(bytes(range(256)))
    with pytest.raises(DataError, match="cannot be read as a list"):
        quiet(tmp_path / "list.csv")


def test_nothing_to_use(tmp_path):
    with pytest.raises(DataError, match=r"no video found.*0 other files.*\.mp4"):
        quiet(tmp_path)
    (tmp_path / "a.mp4").write_bytes(b"")
    with pytest.raises(DataError, match=r"none of its 1 video file can be used.*a\.mp4: empty file"):
        quiet(tmp_path)
    with pytest.raises(DataError, match="no such file or folder"):
        quiet(tmp_path / "nowhere")
    (tmp_path / "b.bin").write_text("")
    with pytest.raises(DataError, match="expected a folder"):
        quiet(tmp_path / "b.bin")


def test_links_are_followed_once(tmp_path):
    write_video(tmp_path / "real" / "a.mp4")
    (tmp_path / "real" / "loop").symlink_to(tmp_path, target_is_directory=True)
    assert len(quiet(tmp_path).videos) == 1


def closing(monkeypatch, **errors: OSError) -> None:
    """Let looking into folders of these names fail, also for root."""
    scandir = os.scandir

    def refusing(place):
        error = errors.get(os.path.basename(os.fspath(place)))
        if error is not None:
            raise error
        return scandir(place)

    monkeypatch.setattr("bodvcl.data.sets.layout.os.scandir", refusing)


CLOSED = PermissionError(errno.EACCES, "Permission denied")
GONE = FileNotFoundError(errno.ENOENT, "No such file or directory")


@pytest.mark.parametrize("name", ["{}", "class-folders:{}"])
def test_folders_that_cannot_be_looked_into_are_passed_over_and_named(tmp_path, monkeypatch, name):
    write_video(tmp_path / "run" / "a.mp4")
    write_video(tmp_path / "closed" / "b.mp4")
    write_video(tmp_path / "vanished" / "c.mp4")
    closing(monkeypatch, closed=CLOSED, vanished=GONE)
    result = quiet(name.format(tmp_path))
    assert [os.path.basename(video.path) for video in result.videos] == ["a.mp4"]
    lines = result.summary()
    heading = lines.index("skipped 2 folders that cannot be read:")
    assert lines[heading + 1 : heading + 3] == [
        f"  {tmp_path / 'closed'}: Permission denied",
        f"  {tmp_path / 'vanished'}: No such file or directory",
    ]


def test_a_folder_is_refused_where_nothing_is_left(tmp_path, monkeypatch):
    write_video(tmp_path / "closed" / "a.mp4")
    closing(monkeypatch, closed=CLOSED)
    with pytest.raises(DataError, match=r"no video found.*1 folder cannot be read.*closed: Permission"):
        quiet(tmp_path)
    closing(monkeypatch, **{tmp_path.name: CLOSED})
    with pytest.raises(DataError, match=r"no video found.*1 folder cannot be read.*: Permission"):
        quiet(tmp_path)


def test_a_copy_names_the_folders_that_it_lacks(tmp_path, monkeypatch, capsys):
    write_video(tmp_path / "in" / "run" / "a.mp4")
    write_video(tmp_path / "in" / "closed" / "b.mp4")
    closing(monkeypatch, closed=CLOSED)
    assert main(["data", "transcode", str(tmp_path / "in"), str(tmp_path / "out"), "--workers", "0"]) == 0
    assert f"{tmp_path / 'in' / 'closed'}: Permission denied" in capsys.readouterr().out


def test_what_looks_like_a_video_and_is_none(tmp_path):
    write_video(tmp_path / "a.mp4")
    (tmp_path / "nothing.mp4").symlink_to("nowhere")
    (tmp_path / "loop.mp4").symlink_to("loop.mp4")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "folder.mp4" / "up").symlink_to("..")
    os.mkfifo(tmp_path / "pipe.mp4")
    result = quiet(tmp_path, workers=0)
    assert [os.path.basename(video.path) for video in result.videos] == ["a.mp4"]
    assert [os.path.basename(path) for path, _ in result.skipped] == ["loop.mp4", "nothing.mp4"]
    assert result.data.others == 2  # the pipe, and the link that leads to itself


def test_names_that_are_no_text_or_two_lines(tmp_path):
    folder = os.fsdecode(os.fsencode(tmp_path) + b"/odd\xff\nname")
    os.mkdir(folder)
    write_video(tmp_path / "a.mp4")
    os.rename(tmp_path / "a.mp4", os.path.join(folder, os.fsdecode(b"v\xfe\n.mp4")))
    with open(os.path.join(folder, "empty.mp4"), "wb"):
        pass
    result = quiet(folder)
    assert len(result.videos) == 1
    lines = result.summary()
    assert not any("\n" in line for line in lines)
    assert "\n".join(lines).encode()
    assert "odd\N{REPLACEMENT CHARACTER}\\nname/empty.mp4: empty file" in lines[-1]
    labelled = quiet(f"class-folders:{tmp_path}")
    assert labelled.videos[0].labels["label"] == os.path.basename(folder)


def split_list(tmp_path, *splits: str) -> str:
    """A list of videos with these splits."""
    rows = [f"{write_video(tmp_path / f'{n}.mp4', 20 + n)},{split}" for n, split in enumerate(splits)]
    (tmp_path / "list.csv").write_text("\n".join(["path,split", *rows]) + "\n")
    return str(tmp_path / "list.csv")


@pytest.mark.parametrize(
    ("splits", "chosen", "text"),
    [
        (["Train", "TEST", "training"], [0, 2], "trains on 2 of 3 videos: split train; left out: test (1)"),
        (
            ["train", "extra", ""],
            [0],
            "trains on 1 of 3 videos: split train; left out: extra (1), no split (1)",
        ),
        (["", ""], [0, 1], "trains on 2 of 2 videos"),
        (
            ["", "testing", "dev", "probe_train", "unused"],
            [0],
            "trains on 1 of 5 videos: no split is called train, used instead: no split (1); left out: "
            "test (1), val (1), probe_train (1), unused (1)",
        ),
        (
            ["fold1", "fold2"],
            [0, 1],
            "trains on 2 of 2 videos: no split is called train, used instead: fold1 (1), fold2 (1) "
            "(name one split train to leave out the others)",
        ),
    ],
)
def test_training_says_which_videos_it_takes(tmp_path, splits, chosen, text):
    result = quiet(split_list(tmp_path, *splits))
    assert result.training_part().text == text
    assert [os.path.basename(video.path) for video in result.training()] == [f"{n}.mp4" for n in chosen]


@pytest.mark.parametrize(
    "splits", [["test", "val"], ["Testing"], ["eval", "dev"], ["probe_train", "probe_test"]]
)
def test_videos_to_test_on_are_not_trained_on(tmp_path, splits):
    result = quiet(split_list(tmp_path, *splits))
    with pytest.raises(DataError, match=r"no video to train on: .*name the training split train, or give"):
        result.training()


def test_others_do_not_stand_in_for_a_train_split_that_cannot_be_used(tmp_path):
    source = split_list(tmp_path, "train", "other", "test")
    (tmp_path / "0.mp4").write_bytes(b"")
    with pytest.raises(
        DataError, match=r"no video of its split train can be used \(usable: other \(1\), test"
    ):
        quiet(source).training()


def test_folders_named_train_and_test_are_splits(tmp_path):
    for number, name in enumerate(["Train/a", "training/b", "TEST/c", "misc/d", "e"]):
        write_video(tmp_path / "deep" / f"{name}.mp4", 20 + number)
    result = quiet(tmp_path)
    assert {os.path.basename(v.path): v.split for v in result.videos} == {
        "a.mp4": "train", "b.mp4": "train", "c.mp4": "test", "d.mp4": "misc", "e.mp4": ""
    }  # fmt: skip
    assert len(result.training()) == 2
    only = tmp_path / "only"
    (only / "test").mkdir(parents=True)
    os.link(tmp_path / "deep" / "TEST" / "c.mp4", only / "test" / "c.mp4")
    alone = quiet(only)
    with pytest.raises(DataError, match=r"no video to train on.*or their folder itself"):
        alone.training()
    assert len(quiet(only / "test").training()) == 1
