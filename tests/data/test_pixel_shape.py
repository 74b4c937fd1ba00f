"""Videos whose pixels are not square are seen as a player shows them: a circle stays a circle."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from video_files import remux

from bodvcl.config.schema import AugmentConfig, ClipConfig
from bodvcl.data.clips.boxes import box_in_pixels
from bodvcl.data.clips.draws import draw_clips
from bodvcl.data.clips.plan import ClipPlan
from bodvcl.data.files.copies import CopySettings
from bodvcl.data.files.index import VideoIndex, stamp
from bodvcl.data.files.pixel_shape import displayed_width
from bodvcl.data.files.probing import probe_video
from bodvcl.data.files.reading import read_frames
from bodvcl.data.files.transcode import write_copy
from bodvcl.data.sources.evaluation import evaluation_clips
from bodvcl.data.sources.pyav_source import PyAVSource
from bodvcl.data.sources.source_choice import can_run_dali, can_run_torchcodec

CPU = torch.device("cpu")
RADIUS = 40  # displayed pixels


def write_circle(
    path: Path,
    *,
    ratio: Fraction,
    size: tuple[int, int] = (96, 128),
    rotation: int = 0,
    codec: str = "libx264",
) -> Path:
    """A white circle, as it is displayed, in the middle of a black picture of (height, width) pixels."""
    height, width = size
    y, x = np.mgrid[:height, :width]
    inside = ((x + 0.5 - width / 2) * float(ratio)) ** 2 + (y + 0.5 - height / 2) ** 2 < RADIUS**2
    image = np.repeat(np.where(inside, 235, 16).astype(np.uint8)[..., None], 3, axis=2)
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=25)
        stream.height, stream.width = size
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.codec_context.sample_aspect_ratio = ratio
        if rotation:
            stream.set_display_rotation(rotation)
        for _ in range(20):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        out.mux(stream.encode(None))
    return path


def extent(image: np.ndarray) -> tuple[int, int]:
    """Height and width of the bright part of (H, W, 3), in pixels."""
    bright = np.asarray(image)[..., 0] > 127
    return int(bright.any(1).sum()), int(bright.any(0).sum())


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts", "a.avi"])
@pytest.mark.parametrize("ratio", [Fraction(16, 11), Fraction(8, 9), Fraction(2)])
def test_a_circle_stays_a_circle(tmp_path, name, ratio):
    info = probe_video(write_circle(tmp_path / name, ratio=ratio))
    assert (info.height, info.width) == (96, round(128 * ratio))
    assert info.pixels == (96, 128)
    (frame,) = read_frames(info, [3])
    assert frame.shape == (96, info.width, 3)
    assert extent(frame) == pytest.approx((2 * RADIUS, 2 * RADIUS), abs=2)
    clip = ClipConfig(frames=4, stride=2, size=96)
    batch = next(evaluation_clips([info], clip))
    assert extent(batch.clips[0, 0].numpy()) == pytest.approx((2 * RADIUS, 2 * RADIUS), abs=2)


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_the_stored_row_is_what_is_stretched(tmp_path, rotation):
    info = probe_video(write_circle(tmp_path / "a.mp4", ratio=Fraction(3, 2), rotation=rotation))
    turned = rotation != 180
    assert (info.height, info.width) == ((192, 96) if turned else (96, 192))
    assert info.pixels == ((128, 96) if turned else (96, 128))
    assert extent(read_frames(info, [0])[0]) == pytest.approx((2 * RADIUS, 2 * RADIUS), abs=2)
    batch = next(evaluation_clips([info], ClipConfig(frames=3, stride=1, size=96)))
    assert extent(batch.clips[0, 0].numpy()) == pytest.approx((2 * RADIUS, 2 * RADIUS), abs=2)


def test_random_crops_keep_the_shape_that_was_drawn(tmp_path):
    """A crop of aspect 1 of the displayed picture: a circle in it is as high as it is wide."""
    info = probe_video(write_circle(tmp_path / "a.mp4", ratio=Fraction(2)))
    augment = AugmentConfig(crop_area=(0.34, 0.37), crop_aspect=(1.0, 1.0), jitter=0.0, flip=0.0)
    clip = ClipConfig(frames=3, stride=1, size=96)
    source = PyAVSource(ClipPlan([info, info], clip, augment, batch_size=2, seed=0), workers=0)
    whole = 0
    for epoch in range(12):
        batch = next(source.epoch(epoch))
        for row in range(4):
            index = int(batch.videos[row // 2])
            box = draw_clips(info, clip, augment, seed=0, epoch=epoch, index=index).boxes[row % 2]
            top, left, height, width = box_in_pixels(box, info.height, info.width)
            assert abs(height - width) <= 1
            if left <= 128 - RADIUS and left + width >= 128 + RADIUS and top <= 8 and top + height >= 88:
                whole += 1
                expected = 2 * RADIUS * 96 / height
                assert extent(batch.clips[row, 0].numpy()) == pytest.approx((expected, expected), abs=2)
    source.close()
    assert whole


def test_a_training_copy_has_square_pixels(tmp_path):
    info = probe_video(write_circle(tmp_path / "a.mkv", ratio=Fraction(3, 2)))
    write_copy(info, None, tmp_path / "copy.mp4", CopySettings())
    copy = probe_video(tmp_path / "copy.mp4")
    assert (copy.height, copy.width, copy.stored_width) == (96, 192, 0)
    assert extent(read_frames(copy, [0])[0]) == pytest.approx((2 * RADIUS, 2 * RADIUS), abs=2)


def test_a_ratio_in_the_container_counts_too(tmp_path):
    source = write_circle(tmp_path / "a.mov", ratio=Fraction(2), codec="mjpeg")
    assert probe_video(remux(source, tmp_path / "b.mkv")).width == probe_video(source).width == 256


def test_the_index_keeps_it(tmp_path, monkeypatch):
    monkeypatch.setenv("BODVCL_INDEX", str(tmp_path / "index.sqlite"))
    info = probe_video(write_circle(tmp_path / "a.mp4", ratio=Fraction(3, 2)))
    at = stamp(info.path)
    with VideoIndex() as index:
        index.store([(at, info)])
        assert index.lookup({info.path: at})[info.path].pixels == (96, 128)


def test_decoders_on_a_gpu_are_not_ruled_out(tmp_path):
    """They give stored pixels, and boxes are shares of a frame: nothing of them needs the ratio."""
    square = probe_video(write_circle(tmp_path / "a.mov", ratio=Fraction(1), codec="mjpeg"))
    wide = probe_video(write_circle(tmp_path / "b.mov", ratio=Fraction(2), codec="mjpeg"))
    for able in (can_run_dali([square, wide], CPU, installed=True), can_run_torchcodec([wide], trouble="")):
        assert able == (True, "")


@pytest.mark.parametrize(
    ("ratio", "width"),
    [(None, 720), (Fraction(0), 720), (Fraction(8, 9), 640), (Fraction(64, 45), 1024),
     (Fraction(427, 426), 720), (Fraction(1, 100), 720), (Fraction(100), 720)],
)  # fmt: skip
def test_displayed_width(ratio, width):
    assert displayed_width(720, ratio) == width
