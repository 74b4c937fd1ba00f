"""A scan says what can be used, and what cannot and why, before training starts."""

from __future__ import annotations

import os

import pytest
from video_files import write_audio, write_video

from bodvcl.config import ClipConfig
from bodvcl.data.scan import scan
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
    assert "ignored 1 file that is no video" in text
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
    (tmp_path / "b.txt").write_text("")
    with pytest.raises(DataError, match="expected a folder"):
        quiet(tmp_path / "b.txt")


def test_links_are_followed_once(tmp_path):
    write_video(tmp_path / "real" / "a.mp4")
    (tmp_path / "real" / "loop").symlink_to(tmp_path, target_is_directory=True)
    assert len(quiet(tmp_path).videos) == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_folder_without_permission(tmp_path):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0)
    try:
        with pytest.raises(DataError, match="cannot look into"):
            quiet(tmp_path)
    finally:
        closed.chmod(0o755)
