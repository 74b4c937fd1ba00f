"""Kept frames are those that read_frames gives, and the room is kept to."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bodvcl.config.schema import AugmentConfig, ClipConfig, DecodeConfig
from bodvcl.data.clips.plan import ClipPlan
from bodvcl.data.files.reading import read_frames
from bodvcl.data.files.scan import scan
from bodvcl.data.files.video import BadVideo
from bodvcl.data.sources import kept_frames
from bodvcl.data.sources.kept_frames import KeptFrames
from bodvcl.data.sources.pyav_source import PyAVSource
from bodvcl.data.sources.source import open_source
from bodvcl.errors import ConfigError

CLIP = ClipConfig(frames=4, stride=2, views=2, size=16)


@pytest.fixture(scope="module")
def videos(video_folder):
    return scan(video_folder, clip=CLIP, progress=False).videos


@pytest.fixture
def decoded(monkeypatch) -> list[str]:
    """Paths that are decoded, one entry per call."""
    paths = []

    def counted(info, indices, size=None):
        paths.append(info.path)
        return read_frames(info, indices, size)

    monkeypatch.setattr(kept_frames, "read_frames", counted)
    return paths


def own_size(info) -> tuple[int, int]:
    return info.height, info.width


def test_a_kept_video_is_decoded_once(videos, decoded):
    info, read = videos[0], KeptFrames(10**9)
    for indices in ([3, 1, 1], [info.frames - 1, 0]):
        np.testing.assert_array_equal(
            read(info, indices, own_size(info)), read_frames(info, indices, own_size(info))
        )
    assert decoded == [info.path]


def test_what_does_not_fit_is_decoded_every_time(videos, decoded):
    info = videos[0]
    height, width = own_size(info)
    read = KeptFrames(info.frames * height * width * 3)
    other = videos[1]
    for video in (info, other, info, other):
        read(video, [0], own_size(video))
    assert decoded == [info.path, other.path, other.path]


def test_damage_among_frames_that_are_not_wanted_is_none(videos, monkeypatch):
    info = videos[0]

    def damaged(info, indices, size=None):
        if len(indices) == info.frames:
            raise BadVideo(info.path, "frame 5 is damaged")
        return read_frames(info, indices, size)

    monkeypatch.setattr(kept_frames, "read_frames", damaged)
    kept = KeptFrames(10**9)(info, [1, 2], own_size(info))
    np.testing.assert_array_equal(kept, read_frames(info, [1, 2], own_size(info)))


@pytest.mark.parametrize("number", [-1, 10**6])
def test_a_frame_outside_of_the_video_is_refused(videos, number):
    read = KeptFrames(10**9)
    with pytest.raises(IndexError):
        read(videos[0], [number], own_size(videos[0]))


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_the_same_with_and_without_memory(videos, workers):
    def batches(keep: float) -> list[torch.Tensor]:
        plan = ClipPlan(videos, CLIP, AugmentConfig(), batch_size=4, seed=0)
        loader = PyAVSource(plan, workers=workers, keep=keep)
        try:
            return [batch.clips for epoch in range(2) for batch in loader.epoch(epoch)]
        finally:
            loader.close()

    for ours, theirs in zip(batches(1.0), batches(0.0), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


def test_other_decoders_refuse_it(videos, monkeypatch):
    monkeypatch.setattr("bodvcl.data.sources.source.choose_decoder", lambda *_: ("dali", "for this test"))
    plan = ClipPlan(videos, CLIP, AugmentConfig(), batch_size=4, seed=0)
    with pytest.raises(ConfigError, match=r"--decode\.keep applies only to --decoder pyav"):
        open_source(plan, DecodeConfig(keep=1.0), device=torch.device("cpu"))
