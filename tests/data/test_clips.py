"""Draws are functions of (seed, epoch, video), and follow the configured distributions."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bodvcl.config.schema import AugmentConfig, ClipConfig
from bodvcl.data.clips.colour import colour_matrix
from bodvcl.data.clips.draws import clip_frames, draw_clips, evaluation_draws
from bodvcl.data.files.clip_fit import required_frames
from bodvcl.data.files.video import VideoInfo


def video(frames: int = 100, fps: float = 25.0, size: tuple[int, int] = (48, 80), pts=None) -> VideoInfo:
    return VideoInfo(
        path="a.mp4",
        frames=frames,
        fps=fps,
        width=size[1],
        height=size[0],
        rotation=0,
        codec="h264",
        duration=frames / fps,
        sequential=False,
        time_base=1 / fps if pts is None else 1e-3,
        first_pts=0,
        pts_step=1,
        pts=pts,
        keyframes=np.zeros(1, np.int32),
    )


def draws_as_tuple(**address):
    draws = draw_clips(video(), ClipConfig(), AugmentConfig(blur=0.5), **address)
    return tuple(np.asarray(value).tobytes() for value in dataclasses.astuple(draws))


def test_draws_depend_on_their_address_and_on_nothing_else():
    address = {"seed": 3, "epoch": 4, "index": 5}
    first = draws_as_tuple(**address)
    for other in ({"seed": 4}, {"epoch": 5}, {"index": 6}):
        assert draws_as_tuple(**(address | other)) != first
    assert draws_as_tuple(**address) == first


def test_switching_one_augmentation_off_moves_no_other_draw():
    address = {"seed": 0, "epoch": 0, "index": 0}
    full = draw_clips(video(), ClipConfig(), AugmentConfig(blur=1.0, gray=1.0), **address)
    less = draw_clips(video(), ClipConfig(), AugmentConfig(jitter=0.0), **address)
    np.testing.assert_array_equal(full.frames, less.frames)
    np.testing.assert_array_equal(full.boxes, less.boxes)
    np.testing.assert_array_equal(full.flip, less.flip)
    more_views = draw_clips(video(), ClipConfig(views=5), AugmentConfig(jitter=0.0), **address)
    np.testing.assert_array_equal(more_views.frames[:2], less.frames)


@pytest.mark.parametrize("views", [2, 3])
def test_a_twin_has_the_frames_of_the_first_clip_and_an_augmentation_of_its_own(views):
    address = {"seed": 0, "epoch": 0, "index": 0}
    clip, augment = ClipConfig(views=views), AugmentConfig(blur=1.0)
    plain = draw_clips(video(), clip, augment, **address)
    twin = draw_clips(video(), dataclasses.replace(clip, twin=True), augment, **address)
    np.testing.assert_array_equal(twin.frames[-1], twin.frames[0])
    np.testing.assert_array_equal(twin.frames[:-1], plain.frames[:-1])
    assert (plain.frames[-1] != plain.frames[0]).any()
    for name in ("boxes", "colour", "flip", "sigma"):
        np.testing.assert_array_equal(getattr(twin, name), getattr(plain, name))
    assert (twin.boxes[-1] != twin.boxes[0]).any()
    assert twin.sigma[-1] != twin.sigma[0]


def many(clip: ClipConfig, augment: AugmentConfig, info: VideoInfo, count: int = 500):
    return [draw_clips(info, clip, augment, seed=0, epoch=e, index=0) for e in range(count)]


def test_starts_cover_the_video_uniformly():
    draws = many(ClipConfig(frames=8, stride=2), AugmentConfig(), video(40), 1500)
    starts = np.concatenate([d.frames[:, 0] for d in draws])
    counts = np.bincount(starts, minlength=26)
    assert starts.min() == 0
    assert starts.max() == 25
    assert len(counts) == 26
    expected = len(starts) / 26
    assert (
        (counts - expected) ** 2 / expected
    ).sum() < 52  # chi-square, 25 degrees of freedom, p about 0.001
    assert all((np.diff(d.frames, axis=1) == 2).all() for d in draws)


def test_boxes_stay_inside_and_follow_area_and_aspect():
    augment = AugmentConfig(crop_area=(0.3, 0.7))
    boxes = np.concatenate([d.boxes for d in many(ClipConfig(), augment, video(size=(60, 80)))])
    top, left, height, width = boxes.T
    assert (boxes >= 0).all()
    assert (top + height <= 1 + 1e-12).all()
    assert (left + width <= 1 + 1e-12).all()
    area, aspect = height * width, width * 80 / (height * 60)
    assert area.min() >= 0.3 - 1e-9
    assert area.max() <= 0.7 + 1e-9
    assert aspect.min() >= 0.75 - 1e-9
    assert aspect.max() <= 4 / 3 + 1e-9
    assert abs(area.mean() - 0.5) < 0.02
    assert abs(np.log(aspect).mean()) < 0.02


def test_boxes_of_a_narrow_video_fall_back_to_the_centre():
    draws = draw_clips(
        video(size=(40, 400)), ClipConfig(), AugmentConfig(crop_area=(0.9, 1.0)), seed=0, epoch=0, index=0
    )
    np.testing.assert_allclose(draws.boxes[0], [0, (1 - 4 / 30) / 2, 1, 4 / 30])


def test_probabilities():
    draws = many(ClipConfig(), AugmentConfig(flip=0.3, jitter=0.6, gray=0.2, blur=0.4), video())
    flip = np.concatenate([d.flip for d in draws])
    sigma = np.concatenate([d.sigma for d in draws])
    colour = np.concatenate([d.colour for d in draws])
    gray = np.ptp(colour, axis=1).max(axis=1) < 1e-6
    still = np.abs(colour - np.eye(3, 4)).max(axis=(1, 2)) < 1e-6
    for share, expected in ((flip, 0.3), (sigma > 0, 0.4), (gray, 0.2), (still, 0.4 * 0.8)):
        assert abs(share.mean() - expected) < 0.05
    assert sigma[sigma > 0].min() >= 0.1
    assert sigma.max() <= 2.0


def test_colour_matrix():
    np.testing.assert_allclose(colour_matrix(1, 1, 1, 0, False), np.eye(3, 4), atol=1e-9)
    np.testing.assert_allclose(colour_matrix(1.2, 1, 1, 0, False), 1.2 * np.eye(3, 4), atol=1e-9)
    rgb = np.array([0.2, 0.5, 0.9, 1.0])
    np.testing.assert_allclose(colour_matrix(1, 0.5, 1, 0, False) @ rgb, 0.5 * rgb[:3] + 0.25, atol=1e-9)
    luma = 0.299 * 0.2 + 0.587 * 0.5 + 0.114 * 0.9
    np.testing.assert_allclose(colour_matrix(1, 1, 0, 0, False) @ rgb, np.full(3, luma), atol=1e-9)
    np.testing.assert_allclose(colour_matrix(1, 1, 1, 0, True) @ rgb, np.full(3, luma), atol=1e-9)
    np.testing.assert_allclose(colour_matrix(1, 1, 1, 1.0, False), np.eye(3, 4), atol=1e-9)
    turned = colour_matrix(1, 1, 1, 0.1, False) @ rgb
    assert abs(np.array([0.299, 0.587, 0.114]) @ turned - luma) < 1e-3
    assert np.abs(turned - rgb[:3]).max() > 0.05


def test_short_video_repeats_its_last_frame():
    frames = clip_frames(video(5), ClipConfig(frames=8, stride=1), np.array([0.0, 0.99]))
    np.testing.assert_array_equal(frames, [[0, 1, 2, 3, 4, 4, 4, 4]] * 2)


def test_linspace_covers_the_whole_span_of_a_clip():
    clip = ClipConfig(frames=8, stride=8, spacing="linspace")
    truth = torch.linspace(0, 63, 8).long().numpy()
    np.testing.assert_array_equal(clip_frames(video(64), clip, np.array([0.0, 0.99])), [truth, truth])
    assert required_frames(video(), clip) == 64
    starts = clip_frames(video(100), clip, np.linspace(0, 0.999, 200))[:, 0]
    assert (starts.min(), starts.max()) == (0, 36)
    timed = ClipConfig(frames=4, stride=2, spacing="linspace", fps=10.0)
    np.testing.assert_array_equal(
        clip_frames(video(100, fps=30.0), timed, np.array([0.0]))[0], [0, 7, 14, 21]
    )


def test_frame_rate_is_resampled_in_time():
    clip = ClipConfig(frames=4, stride=1, fps=10.0)
    np.testing.assert_array_equal(clip_frames(video(100, fps=30.0), clip, np.array([0.0]))[0], [0, 3, 6, 9])
    np.testing.assert_array_equal(clip_frames(video(100, fps=5.0), clip, np.array([0.0]))[0], [0, 0, 1, 1])
    stamps = np.array([0, 10, 20, 100, 150, 200, 290, 300, 400, 1000])
    frames = clip_frames(video(10, pts=stamps), clip, np.array([0.0]))[0]
    np.testing.assert_array_equal(frames, [0, 3, 5, 7])


@given(
    frames=st.integers(1, 300),
    fps=st.sampled_from([10.0, 24.0, 25.0, 29.97, 60.0]),
    wanted=st.sampled_from([None, 8.0, 25.0, 30.0]),
    length=st.integers(3, 16),
    stride=st.integers(1, 8),
    where=st.floats(0, 1, exclude_max=True),
)
def test_clips_lie_in_the_video_and_do_not_repeat_when_it_is_long_enough(
    frames, fps, wanted, length, stride, where
):
    info, clip = video(frames, fps), ClipConfig(frames=length, stride=stride, fps=wanted)
    numbers = clip_frames(info, clip, np.array([where]))[0]
    assert numbers.min() >= 0
    assert numbers.max() < frames
    assert (np.diff(numbers) >= 0).all()
    if frames >= required_frames(info, clip) and wanted is None:
        assert (np.diff(numbers) == stride).all()


@pytest.mark.parametrize("count", [1, 3])
def test_evaluation_draws(count):
    draws = evaluation_draws(video(100, size=(48, 80)), ClipConfig(frames=8, stride=2), count)
    assert draws.frames.shape == (count, 8)
    starts = draws.frames[:, 0]
    assert abs(starts + starts[::-1] - 85).max() <= 1
    assert (np.diff(starts) > 0).all()
    np.testing.assert_allclose(draws.boxes[0], [0, 0.2, 1, 0.6])
    np.testing.assert_array_equal(draws.colour[0], np.eye(3, 4))
    assert not draws.flip.any()
    assert not draws.sigma.any()
