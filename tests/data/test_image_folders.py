"""Folders of numbered images are videos, and other folders with images are not."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from layouts import build
from PIL import Image
from video_files import barcode, read_barcode, write_video

from bodvcl.cli.data import main as data_main
from bodvcl.config.schema import AugmentConfig, ClipConfig, DecodeConfig
from bodvcl.data.clips.plan import ClipPlan
from bodvcl.data.files.identity import first_of_each
from bodvcl.data.files.images import at_rate
from bodvcl.data.files.probing import probe_video
from bodvcl.data.files.reading import read_frames
from bodvcl.data.files.scan import scan
from bodvcl.data.files.video import BadVideo
from bodvcl.data.sets import Segment, open_dataset
from bodvcl.data.sets.layout import search_videos
from bodvcl.data.sets.numbered import Numbered, numbered_images
from bodvcl.data.sources.source import open_source
from bodvcl.data.sources.source_choice import can_run_dali, can_run_torchcodec
from bodvcl.errors import ConfigError, DataError

WHOLE = AugmentConfig(crop_area=(1.0, 1.0), crop_aspect=(80 / 48, 80 / 48), flip=0.0, jitter=0.0, mix=0.0)
CLIP = ClipConfig(frames=4, stride=2, size=80)


def write_images(
    folder: Path,
    numbers=range(1, 21),
    *,
    name: str = "%05d.png",
    size: tuple[int, int] = (48, 80),
    start: int = 0,
) -> Path:
    """Image k of the folder shows the barcode start + k."""
    folder.mkdir(parents=True, exist_ok=True)
    for place, number in enumerate(numbers):
        Image.fromarray(barcode(start + place, *size)).save(folder / (name % number), quality=95)
    return folder


def found(source: Path, clip: ClipConfig | None = CLIP, **options):
    return scan(source, clip=clip, workers=0, progress=False, **options)


@pytest.mark.parametrize(
    ("name", "numbers"),
    [("%05d.png", range(1, 21)), ("img_%d.jpg", range(5, 25)), ("frame%06d.JPEG", range(0, 60, 3)),
     ("50%% x %d.png", range(1, 21)), ("v1_%03d.jpg", [*range(990, 1010)])],
)  # fmt: skip
def test_frames_are_in_the_order_of_their_numbers(tmp_path, name, numbers):
    info = probe_video(write_images(tmp_path / "a video.mp4", numbers, name=name))
    assert (info.frames, info.height, info.width, info.pts) == (20, 48, 80, None)
    for indices in ([19, 0, 7, 7], list(range(20))):
        assert [read_barcode(image) for image in read_frames(info, indices)] == indices
    small = read_frames(info, [3, 17], (24, 40))
    assert small.shape == (2, 24, 40, 3)
    assert read_barcode(small.repeat(2, 1).repeat(2, 2)[1]) == 17


def test_a_png_is_exact_and_only_frames_that_are_needed_are_opened(tmp_path, monkeypatch):
    info = probe_video(write_images(tmp_path / "v"))
    opened, real = [], Image.open
    monkeypatch.setattr(Image, "open", lambda file: opened.append(os.path.basename(file)) or real(file))
    images = read_frames(info, [4, 9, 4])
    assert opened == ["00005.png", "00010.png"]
    np.testing.assert_array_equal(images, np.stack([barcode(n, 48, 80) for n in (4, 9, 4)]))


def test_images_of_other_kinds_and_orientations(tmp_path):
    grey = np.arange(48 * 80, dtype=np.uint8).reshape(48, 80)
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned clockwise
    (tmp_path / "v").mkdir()
    for number in range(1, 4):
        Image.fromarray(grey).save(tmp_path / "v" / f"{number}.png", exif=exif)
    info = probe_video(tmp_path / "v")
    assert (info.height, info.width) == (80, 48)
    np.testing.assert_array_equal(read_frames(info, [1])[0], np.rot90(grey, -1)[..., None].repeat(3, 2))


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (
            lambda v: Image.new("RGB", (80, 50)).save(v / "00007.png"),
            "image 00007.png is 80x50, 00001.png is 80x48",
        ),
        (lambda v: (v / "00007.png").write_bytes(b""), "image 00007.png is empty"),
        (lambda v: (v / "00007.png").write_text("no"), "image 00007.png: not readable as an image"),
        (
            lambda v: Image.new("I;16", (80, 48)).save(v / "00007.png"),
            "image 00007.png has pixels of kind I;16",
        ),
        (lambda v: Image.new("RGB", (80, 48)).save(v / "thumb1.jpg"), "images with several kinds of names"),
        (lambda v: Image.new("RGB", (80, 48)).save(v / "007.png"), "images are written in several ways"),
    ],
)
def test_what_is_no_video_is_refused_with_the_reason(tmp_path, spoil, reason):
    folder = write_images(tmp_path / "v")
    spoil(folder)
    with pytest.raises(BadVideo, match=reason):
        probe_video(folder)


def test_a_damaged_image_is_named_and_another_video_takes_its_place(tmp_path):
    videos = [probe_video(write_images(tmp_path / f"v{n}", start=n)) for n in range(4)]
    videos = [at_rate(video, 25) for video in videos]
    for path in (tmp_path / "v2").iterdir():
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(BadVideo, match=r"image 00004.png \(frame 3\): "):
        read_frames(videos[2], [3])
    (tmp_path / "v3" / "00001.png").unlink()
    with pytest.raises(BadVideo, match=r"image 00001.png \(frame 0\): no such file"):
        read_frames(videos[3], [0])
    Image.new("RGB", (60, 48)).save(tmp_path / "v3" / "00002.png")
    with pytest.raises(BadVideo, match=r"image 00002.png \(frame 1\) is 60x48 instead of 80x48"):
        read_frames(videos[3], [1])
    plan = ClipPlan(videos[:3], CLIP, WHOLE, batch_size=2, seed=0)
    source = open_source(plan, DecodeConfig(max_bad=1.0, keep=0), device=torch.device("cpu"), workers=0)
    for epoch in range(3):
        batch = next(source.epoch(epoch))
        assert sorted(batch.videos.tolist()) == [0, 1]
    assert [Path(path).name for path in source.failed] == ["v2"]
    source.close()


def test_times_and_missing_numbers(tmp_path):
    folder = write_images(tmp_path / "data" / "v", [1, 2, 3, 4, 7, 8, 9, 10, 12, 13])
    write_images(tmp_path / "data" / "w")
    result = found(tmp_path / "data", image_fps=10)
    info = result.videos[0]
    np.testing.assert_allclose(info.times(), [0, 0.1, 0.2, 0.3, 0.6, 0.7, 0.8, 0.9, 1.1, 1.2])
    assert (info.fps, info.duration) == (10, pytest.approx(1.0))
    said = result.summary()
    assert "numbers of images are missing in 1 folder:" in said
    assert f"  {folder}: 5 to 6, 11" in said
    assert any(
        "2 videos are folders of images, which have no times: taken as 10 frames" in line for line in said
    )
    assert "png images" in said[0]
    slow = found(tmp_path / "data", ClipConfig(frames=4, stride=1, fps=5, image_fps=10)).videos
    assert [video.fps for video in slow] == [10, 10]


def test_a_second_scan_opens_no_image_until_the_folder_changes(tmp_path):
    folder = write_images(tmp_path / "data" / "v")
    assert found(tmp_path / "data").checked == 1
    assert found(tmp_path / "data").checked == 0
    assert found(tmp_path / "data", image_fps=50).videos[0].fps == 50
    (folder / "00020.png").unlink()
    result = found(tmp_path / "data")
    assert (result.checked, result.videos[0].frames) == (1, 19)


def test_folders_beside_video_files_are_left_out_and_named(tmp_path, good_video):
    build(tmp_path, good_video, ["films/a.mp4"], {})
    write_images(tmp_path / "films" / "thumbnails", range(1, 4))
    data = open_dataset(tmp_path)
    assert [Path(row.path).name for row in data.rows] == ["a.mp4"]
    assert data.others == 3
    assert data.notes == [
        "1 folder of numbered images left out, because there are video files too; a list of their paths uses "
        f"them; for example {tmp_path}/films/thumbnails"
    ]


def test_folders_that_are_in_doubt_are_left_out_and_named(tmp_path):
    write_images(tmp_path / "a")
    (tmp_path / "a" / "labels.txt").write_text("x")
    (tmp_path / "a" / ".DS_Store").write_text("x")
    write_images(tmp_path / "b")
    (tmp_path / "b" / "model.pt").write_text("x")
    write_images(tmp_path / "c")
    write_images(tmp_path / "c" / "small")
    write_images(tmp_path / "d")
    write_images(tmp_path / "d", name="thumb%d.png")
    write_images(tmp_path / "e", range(1, 2))
    data = open_dataset(tmp_path)
    assert [os.path.relpath(row.path, tmp_path) for row in data.rows] == ["a", "c/small"]
    assert len(data.notes) == 1
    assert data.notes[0].startswith(
        "4 folders of numbered images left out, because their frames are not clear"
    )
    assert data.others == 20 + 1 + 20 + 40 + 1


def test_splits_classes_and_flow_images(tmp_path):
    places = [("train", "run", "v.1"), ("train", "sit", "v.2"), ("test", "run", "v.3")]
    for number, (split, label, name) in enumerate(places):
        write_images(tmp_path / split / label / name, name="img_%05d.jpg", start=20 * number)
        write_images(tmp_path / split / label / name, name="flow_x_%05d.jpg")
    rows = open_dataset(f"class-folders:{tmp_path}").rows
    assert [(Path(row.path).name, row.split, row.labels["label"]) for row in rows] == [
        ("v.3", "test", "run"), ("v.1", "train", "run"), ("v.2", "train", "sit"),
    ]  # fmt: skip
    assert [video.frames for video in found(f"class-folders:{tmp_path}").videos] == [20, 20, 20]


def test_an_official_layout_with_folders_of_images(tmp_path):
    for name in ("v_A_g01_c01", "v_B_g01_c02"):
        write_images(tmp_path / "UCF-101" / name[2] / name)
    lists = tmp_path / "ucfTrainTestlist"
    lists.mkdir()
    (lists / "classInd.txt").write_text("1 A\n2 B\n")
    (lists / "trainlist01.txt").write_text("A/v_A_g01_c01.avi 1\n")
    (lists / "testlist01.txt").write_text("B/v_B_g01_c02.avi\n")
    videos = found(f"ucf101:{tmp_path}").videos
    assert [(video.split, video.labels["label"], video.frames) for video in videos] == [
        ("train", "A", 20), ("test", "B", 20),
    ]  # fmt: skip


def test_a_list_of_folders_and_files(tmp_path, good_video):
    write_images(tmp_path / "a folder")
    write_images(tmp_path / "b", name="x%d.jpg")
    shutil.copy(good_video, tmp_path / "c.mp4")
    text = "path,fps,start,end,label\na folder,10,,,x\na folder,10,0.5,1.5,y\nb,,,,y\nc.mp4,25,,,z\n"
    (tmp_path / "l.csv").write_bytes(("\ufeff" + text.replace("\n", "\r\n")).encode())
    videos = found(tmp_path / "l.csv").videos
    assert [(video.fps, video.frames, video.first, video.labels) for video in videos] == [
        (10, 20, 0, {"label": "x"}), (10, 10, 5, {"label": "y"}), (25, 20, 0, {"label": "y"}),
        (25, 50, 0, {"label": "z"}),
    ]  # fmt: skip
    assert [read_barcode(image) for image in read_frames(videos[1], [0, 9])] == [5, 14]
    (tmp_path / "files.csv").write_text("path,fps\nc.mp4,25\n")
    assert dict(open_dataset(tmp_path / "files.csv").rows[0].labels) == {"fps": "25"}


@pytest.mark.parametrize("cell", ["fast", "0", "-3", "nan", "1e9"])
def test_a_rate_that_is_none_is_refused(tmp_path, cell):
    write_images(tmp_path / "v")
    (tmp_path / "l.csv").write_text(f"path,fps\nv,{cell}\n")
    with pytest.raises(DataError, match=f"row 2: fps is '{cell}'; expected frames per second"):
        open_dataset(tmp_path / "l.csv")


def test_copies_of_a_folder_are_found(tmp_path):
    one = write_images(tmp_path / "data" / "a")
    shutil.copytree(one, tmp_path / "data" / "b")
    write_images(tmp_path / "data" / "c", start=100)
    (tmp_path / "data" / "d").symlink_to(one)
    videos = [probe_video(tmp_path / "data" / name) for name in "abcd"]
    first = first_of_each(videos, progress=False)
    assert [Path(first[video.path]).name for video in videos] == ["a", "a", "c", "a"]


def test_decoders_that_cannot_read_them_say_so(tmp_path):
    video = at_rate(probe_video(write_images(tmp_path / "v")), 25)
    for able in (
        can_run_dali([video], torch.device("cuda"), installed=True),
        can_run_torchcodec([video], trouble=""),
    ):
        assert able[0] is False
        assert "a folder of images, which only PyAV's workers read" in able[1]
    plan = ClipPlan([video, video], CLIP, WHOLE, batch_size=2, seed=0)
    with pytest.raises(ConfigError, match="--decoder torchcodec cannot be used"):
        open_source(plan, DecodeConfig(), device=torch.device("cpu"), decoder="torchcodec")


def test_clips_of_images_are_those_of_the_same_frames_in_a_file(tmp_path):
    """The same plan on a lossless video and on its frames as images: the same bytes."""
    path = write_video(tmp_path / "v.mkv", 20, codec="ffv1", pix_fmt="bgr0")
    file, folder = probe_video(path), at_rate(probe_video(write_images(tmp_path / "v")), 25)
    batches = []
    for video in (file, folder):
        plan = ClipPlan([video, video], CLIP, AugmentConfig(), batch_size=2, seed=3)
        source = open_source(plan, DecodeConfig(), device=torch.device("cpu"), workers=0)
        batches.append(next(source.epoch(0)))
        source.close()
    assert torch.equal(batches[0].frames, batches[1].frames)
    assert torch.equal(batches[0].clips, batches[1].clips)


def test_scan_and_copy_on_the_command_line(tmp_path, capsys):
    write_images(tmp_path / "data" / "v.1")
    write_images(tmp_path / "data" / "v.2", start=20)
    assert data_main(["scan", str(tmp_path / "data"), "--workers", "0", "--image-fps", "12"]) == 0
    assert "taken as 12 frames per second" in capsys.readouterr().out
    arguments = [str(tmp_path / "data"), str(tmp_path / "copy"), "--workers", "0", "--image-fps", "10"]
    assert data_main(["transcode", *arguments]) == 0
    copies = found(tmp_path / "copy", None).videos
    assert [(video.frames, video.fps) for video in copies] == [(20, 10), (20, 10)]
    assert [read_barcode(image) for image in read_frames(copies[1], [0, 19])] == [20, 39]


def test_names_are_read_without_asking_for_each(tmp_path, monkeypatch):
    folder = tmp_path / "v"
    folder.mkdir()
    for number in range(3000):
        (folder / f"{number:06d}.jpg").touch()
    asked = []
    real = os.stat
    monkeypatch.setattr(os, "stat", lambda path, **options: asked.append(path) or real(path, **options))
    assert search_videos(tmp_path).videos == [str(folder)]
    assert len(asked) < 10


def test_names():
    assert numbered_images(["2.jpg", "10.jpg", "1.jpg", "notes.txt"]) == Numbered("%01d.jpg", [1, 2, 10])
    assert numbered_images(["a.jpg"]) == "no image with a number as name in it"
    assert numbered_images(["a1.jpg"]) == "only one image in it"
    assert isinstance(numbered_images(["a1.jpg", "a01.jpg"]), str)
    assert isinstance(numbered_images(["a1.jpg", "b2.jpg"]), str)
    assert isinstance(numbered_images(["a1.jpg", "a2.png"]), str)


def test_a_part_of_a_folder_of_images(tmp_path):
    (tmp_path / "data").mkdir()
    write_images(tmp_path / "data" / "v")
    (tmp_path / "l.csv").write_text("path,start,end\ndata/v,0.2,0.4\n")
    assert open_dataset(tmp_path / "l.csv").rows[0].segment == Segment(0.2, 0.4)
    (video,) = found(tmp_path / "l.csv", None).videos
    assert [read_barcode(image) for image in read_frames(video, range(video.frames))] == list(range(5, 10))
