"""Previews: which frames they show, and that they show them as a player would."""

from __future__ import annotations

from fractions import Fraction
from io import BytesIO
from pathlib import Path

import av
import numpy as np
import pytest
from data.video_files import read_barcode, write_video
from hypothesis import given
from hypothesis import strategies as st

from bodvcl.data.files.video import BadVideo
from bodvcl.serve.preview import TILE, Look, moving, preview_frames, shown_part, still

PLAIN = Look(short_side=144, fps=100, seconds=60, crf=10)
"""All frames in their own size."""


def frames(content: bytes) -> tuple[list[float], list[np.ndarray]]:
    """Seconds and pictures of a video in memory."""
    with av.open(BytesIO(content)) as container:
        found = list(container.decode(video=0))
    return [frame.time for frame in found], [frame.to_ndarray(format="rgb24") for frame in found]


def numbers(content: bytes) -> list[int]:
    return [read_barcode(picture) for picture in frames(content)[1]]


def test_a_long_part_is_shown_from_its_middle():
    assert shown_part(3, 5, 8) == (3, 5)
    assert shown_part(0, 100, 8) == (46, 54)


@given(
    steps=st.lists(st.floats(0.001, 3), min_size=1, max_size=60),
    start=st.floats(0, 50),
    length=st.floats(0, 50),
    fps=st.floats(0.5, 60),
)
def test_frames_of_a_preview_are_of_the_part_and_not_too_many(steps, start, length, fps):
    times = np.cumsum([0, *steps])
    chosen = preview_frames(times, start, start + length, fps)
    assert (np.diff(chosen) > 0).all()
    assert chosen[0] >= 0
    assert chosen[-1] < len(times)
    inside = np.flatnonzero((times >= start) & (times < start + length - 1e-6))
    if len(inside):
        assert chosen[0] <= inside[0]
        assert set(chosen) <= set(range(chosen[0], inside[-1] + 1))
    assert len(chosen) <= length * fps + 2


def test_a_preview_shows_the_frames_between_start_and_end_at_their_times(tmp_path):
    path = write_video(tmp_path / "a.mp4", 50, fps=25)
    assert numbers(moving(str(path), 0.4, 0.8, PLAIN)) == list(range(10, 20))
    assert frames(moving(str(path), 0.4, 0.8, PLAIN))[0] == pytest.approx(np.arange(10) / 25, abs=1e-3)
    slower = moving(str(path), 0, 2, PLAIN._replace(fps=5))
    assert numbers(slower) == list(range(0, 50, 5))
    assert frames(slower)[0] == pytest.approx(np.arange(10) / 5, abs=1e-3)


def test_gaps_and_varying_rates_keep_their_times(tmp_path):
    stamps = [0, 40, 400, 420, 900]
    path = write_video(tmp_path / "a.mkv", 5, stamps=stamps)
    content = moving(str(path), 0, 1, PLAIN)
    assert frames(content)[0] == pytest.approx(np.array(stamps) / 1000, abs=2e-3)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.avi", {"codec": "mpeg4"}),
        ("a.mov", {"codec": "mjpeg", "pix_fmt": "yuvj420p"}),
        ("a.mpg", {"codec": "mpeg2video"}),
        ("a.mkv", {"codec": "ffv1", "pix_fmt": "yuv444p", "size": (33, 95)}),
        ("a.h264", {"container": "h264"}),
    ],
)
def test_every_format_becomes_one_that_a_browser_plays(name, options, tmp_path):
    path = write_video(tmp_path / name, 20, **options)
    content = moving(str(path), 0, 20 / 25, PLAIN)
    with av.open(BytesIO(content)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert stream.width % 2 == stream.height % 2 == 0
    assert numbers(content) == list(range(20))


@pytest.mark.skipif(
    not hasattr(av.VideoStream, "set_display_rotation"), reason="this PyAV cannot write a rotation"
)
def test_a_turned_video_is_shown_upright(tmp_path):
    path = write_video(tmp_path / "a.mp4", 10, size=(48, 80), rotation=90)
    picture = frames(moving(str(path), 0, 1, PLAIN))[1][3]
    assert picture.shape == (80, 48, 3)
    assert read_barcode(np.rot90(picture, -1)) == 3 or read_barcode(np.rot90(picture)) == 3


def test_a_large_video_is_scaled_down_and_keeps_its_shape(tmp_path):
    path = write_video(tmp_path / "a.mp4", 4, size=(360, 640))
    _, pictures = frames(moving(str(path), 0, 1, TILE))
    assert pictures[0].shape == (144, 256, 3)


def test_a_still_is_the_middle_of_the_preview(tmp_path):
    path = write_video(tmp_path / "a.mp4", 50)
    with av.open(BytesIO(still(str(path), 0.4, 0.8, PLAIN)), format="mjpeg") as container:
        (frame,) = container.decode(video=0)
    assert read_barcode(frame.to_ndarray(format="rgb24")) == 15


@pytest.mark.parametrize("make", [still, moving])
def test_what_is_no_video_says_why(make, tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"no video")
    with pytest.raises(BadVideo, match="not readable as a video"):
        make(str(tmp_path / "a.mp4"), 0, 1)
    with pytest.raises(BadVideo, match="no such file"):
        make(str(tmp_path / "b.mp4"), 0, 1)


def test_a_preview_that_nobody_waits_for_is_given_up(tmp_path):
    path = write_video(tmp_path / "a.mp4", 50)
    asked: list[int] = []

    def going() -> bool:
        asked.append(1)
        return len(asked) < 3

    with pytest.raises(BadVideo, match="given up"):
        moving(str(path), 0, 2, PLAIN, going=going)
    assert len(asked) == 3


def test_pixels_that_are_not_square_are_stretched(tmp_path: Path):
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 80, 48, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(2)
        for _ in range(3):
            frame = av.VideoFrame.from_ndarray(np.zeros((48, 80, 3), np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert frames(moving(str(path), 0, 1, PLAIN))[1][0].shape == (48, 160, 3)
