"""All eight ways to show a stored picture are followed, and a matrix without sense changes nothing."""

from __future__ import annotations

import math
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from video_files import set_display_matrix

from bodvcl.config.schema import AugmentConfig, ClipConfig
from bodvcl.data.clips.plan import ClipPlan
from bodvcl.data.files.copies import CopySettings
from bodvcl.data.files.orientation import orientation, upright
from bodvcl.data.files.probing import probe_video
from bodvcl.data.files.reading import read_frames
from bodvcl.data.files.transcode import write_copy
from bodvcl.data.sources.kept_frames import KeptFrames
from bodvcl.data.sources.pyav_source import PyAVSource
from bodvcl.data.sources.source_choice import can_run_dali, can_run_torchcodec

EIGHT = {
    (1, 0, 0, 1): lambda image: image,
    (0, 1, -1, 0): lambda image: np.rot90(image, -1),
    (-1, 0, 0, -1): lambda image: image[::-1, ::-1],
    (0, -1, 1, 0): lambda image: np.rot90(image),
    (-1, 0, 0, 1): lambda image: image[:, ::-1],
    (1, 0, 0, -1): lambda image: image[::-1],
    (0, 1, 1, 0): lambda image: np.swapaxes(image, 0, 1),
    (0, -1, -1, 0): lambda image: np.swapaxes(image[::-1, ::-1], 0, 1),
}
"""a, b, c, d of a display matrix to what a player makes of an image (H, W, ...)."""


def nine(a: float, b: float, c: float, d: float) -> list[float]:
    return [a, b, 0, c, d, 0, 0, 0, 1]


def moved(image: np.ndarray, a: int, b: int, c: int, d: int) -> np.ndarray:
    """The definition, pixel by pixel: (x, y) goes to (a x + c y, b x + d y), moved into the picture."""
    height, width = image.shape
    places = [(a * x + c * y, b * x + d * y) for y in range(height) for x in range(width)]
    columns, rows = (np.array(values) - min(values) for values in zip(*places))
    out = np.empty((rows.max() + 1, columns.max() + 1), image.dtype)
    out[rows, columns] = image.ravel()
    return out


@given(st.sampled_from(list(EIGHT)), st.integers(1, 7), st.integers(1, 7), st.floats(0.01, 100))
def test_what_is_shown_follows_the_definition(numbers, height, width, scale):
    image = np.arange(height * width).reshape(height, width)
    truth = moved(image, *numbers)
    np.testing.assert_array_equal(EIGHT[numbers](image), truth)
    matrix = np.round(np.array(nine(*numbers)) * scale * 65536).astype(np.int32)
    np.testing.assert_array_equal(upright(image, *orientation(matrix)), truth)


@given(st.sampled_from(list(EIGHT)), st.floats(-44, 44), st.floats(0.5, 2), st.integers(-(2**31), 2**31 - 1))
def test_other_angles_go_to_the_nearest(numbers, degrees, scale, shift):
    cos, sin = scale * math.cos(math.radians(degrees)), scale * math.sin(math.radians(degrees))
    turned = np.array(numbers).reshape(2, 2) @ np.array([[cos, sin], [-sin, cos]])
    matrix = np.round(np.array(nine(*turned.ravel())) * 65536)
    matrix[6:8] = shift
    assert orientation(matrix) == orientation(nine(*numbers))


@given(st.integers(-(2**31), 2**31 - 1), st.integers(-(2**31), 2**31 - 1), st.sampled_from([0, 1, -1]))
def test_a_matrix_without_sense_changes_nothing(a, b, factor):
    assert orientation(nine(a, b, factor * a, factor * b)) == (0, False)
    assert orientation(None) == (0, False)


@pytest.fixture(scope="module")
def stored(tmp_path_factory) -> Path:
    """A video of odd size whose four quarters differ."""
    path = tmp_path_factory.mktemp("stored") / "stored.mp4"
    image = np.zeros((35, 57, 3), np.uint8)
    image[:17, :28], image[:17, 28:], image[17:, :28] = (250, 20, 20), (20, 250, 20), (20, 20, 250)
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25, options={"crf": "4"})
        stream.width, stream.height, stream.pix_fmt = 57, 35, "yuv444p"
        for number in range(6):
            faded = (image * (1 - 0.1 * number)).astype(np.uint8)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(faded, format="rgb24")))
        out.mux(stream.encode(None))
    return path


def decoded(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


@pytest.mark.parametrize("numbers", EIGHT)
def test_every_route_shows_a_file_upright(stored, tmp_path, numbers):
    path = set_display_matrix(stored, tmp_path / "shown.mp4", nine(*numbers))
    truth = np.stack([EIGHT[numbers](image) for image in decoded(path)])
    info = probe_video(path)
    assert (info.height, info.width) == truth.shape[1:3]
    np.testing.assert_array_equal(read_frames(info, range(6)), truth)
    half = info.height // 2, info.width // 2
    assert read_frames(info, [2], half).shape == (1, *half, 3)
    size = truth.shape[1:3]
    np.testing.assert_array_equal(KeptFrames([info], [size], 10**9)(info, [4, 1], size), truth[[4, 1]])

    write_copy(info, None, tmp_path / "copy.mp4", CopySettings(short_side=256, crf=4))
    copy = probe_video(tmp_path / "copy.mp4")
    assert (copy.rotation, copy.mirrored) == (0, False)
    small = read_frames(info, range(6), (copy.height, copy.width))
    assert abs(read_frames(copy, range(6)).astype(int) - small).mean() < 6

    aspect = info.width / info.height
    whole = AugmentConfig(flip=0.0, jitter=0.0, crop_area=(1.0, 1.0), crop_aspect=(aspect, aspect))
    clip = ClipConfig(frames=3, stride=1, size=32)
    seen, seen_copy = (
        next(
            PyAVSource(ClipPlan([v, v], clip, whole, batch_size=2, seed=0), workers=0).epoch(0)
        ).clips.float()
        for v in (info, copy)
    )
    assert (seen - seen_copy).abs().mean() < 8


def test_a_matrix_without_sense_in_a_file(stored, tmp_path):
    truth = decoded(stored)
    for numbers in ((0, 0, 0, 0), (1, 1, 1, 1), (0.8, 0.6, -0.6, 0.8), (3, 0, 0, 3)):
        info = probe_video(set_display_matrix(stored, tmp_path / "odd.mp4", nine(*numbers)))
        np.testing.assert_array_equal(read_frames(info, range(6)), truth)


def test_libraries_that_do_not_mirror_are_not_used_for_it(stored, tmp_path):
    for numbers in EIGHT:
        info = probe_video(set_display_matrix(stored, tmp_path / "shown.mp4", nine(*numbers)))
        mirrored = np.linalg.det(np.array(numbers).reshape(2, 2)) < 0
        able, why_not = can_run_torchcodec([info], trouble="")
        assert able == (not mirrored)
        assert not mirrored or "mirrored" in why_not
        able, why_not = can_run_dali([info], torch.device("cuda"), installed=True)
        assert not able  # 4:4:4
        assert numbers == (1, 0, 0, 1) or "rotation" in why_not or "mirrored" in why_not
