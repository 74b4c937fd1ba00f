"""Kept frames are those that read_frames gives, and the room is kept to."""

from __future__ import annotations

import multiprocessing
import pickle

import numpy as np
import pytest
import torch

from bodvcl.config.schema import AugmentConfig, ClipConfig, DecodeConfig
from bodvcl.data.clips.plan import ClipPlan
from bodvcl.data.files.reading import read_frames
from bodvcl.data.files.scan import scan
from bodvcl.data.files.video import BadVideo
from bodvcl.data.sources import kept_frames
from bodvcl.data.sources.kept_frames import KeptFrames, bytes_of
from bodvcl.data.sources.pyav_source import PyAVSource, bytes_decoded
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


def keeping(videos, room: int = 10**9) -> KeptFrames:
    return KeptFrames(videos, [own_size(info) for info in videos], room)


def test_a_kept_video_is_decoded_once(videos, decoded):
    info, read = videos[0], keeping(videos)
    for indices in ([3, 1, 1], [info.frames - 1, 0]):
        np.testing.assert_array_equal(
            read(info, indices, own_size(info)), read_frames(info, indices, own_size(info))
        )
    assert decoded == [info.path]


def test_what_does_not_fit_is_decoded_every_time(videos, decoded):
    info, other = videos[:2]
    read = keeping(videos, bytes_of(info, own_size(info)))
    for video in (info, other, info, other):
        read(video, [0], own_size(video))
    assert decoded == [info.path, other.path, other.path]


def test_another_size_is_decoded_every_time(videos, decoded):
    read = keeping(videos)
    for _ in range(2):
        assert read(videos[0], [0], (8, 12)).shape == (1, 8, 12, 3)
    assert decoded == 2 * [videos[0].path]


def test_damage_among_frames_that_are_not_wanted_is_none(videos, monkeypatch):
    info, tried = videos[0], []

    def damaged(info, indices, size=None):
        tried.append(len(indices))
        if len(indices) == info.frames:
            raise BadVideo(info.path, "frame 5 is damaged")
        return read_frames(info, indices, size)

    monkeypatch.setattr(kept_frames, "read_frames", damaged)
    read = keeping(videos)
    for _ in range(2):
        kept = read(info, [1, 2], own_size(info))
        np.testing.assert_array_equal(kept, read_frames(info, [1, 2], own_size(info)))
    assert tried == [info.frames, 2, 2]


@pytest.mark.parametrize("number", [-1, 10**6])
def test_a_frame_outside_of_the_video_is_refused(videos, number):
    read = keeping(videos)
    with pytest.raises(IndexError):
        read(videos[0], [number], own_size(videos[0]))


def test_what_one_process_decodes_all_have(videos, decoded):
    read = keeping(videos)
    child = multiprocessing.get_context("fork").Process(
        target=lambda: [read(info, [0], own_size(info)) for info in videos[:2]]
    )
    child.start()
    child.join()
    assert child.exitcode == 0
    for info in videos[:3]:
        np.testing.assert_array_equal(read(info, [2], own_size(info)), read_frames(info, [2], own_size(info)))
    assert decoded == [videos[2].path]


def test_what_another_process_has_only_begun_is_decoded_again(videos, decoded):
    read = keeping(videos)
    info, size = videos[0], own_size(videos[0])
    read(info, [0], size)
    read._seen.clear()  # as a process that has not looked at it yet
    read._frames[5] ^= 1
    np.testing.assert_array_equal(read(info, [0], size), read_frames(info, [0], size))
    assert decoded == 2 * [info.path]


def test_without_memory_every_clip_is_decoded_and_that_is_said(videos, decoded, monkeypatch):
    def mmap(number, size):
        if size > 1000:
            raise OSError(12, "Cannot allocate memory")
        return bytearray(size)

    monkeypatch.setattr(kept_frames.mmap, "mmap", mmap)
    with pytest.warns(UserWarning, match="no memory to keep decoded videos"):
        read = keeping(videos)
    for _ in range(2):
        read(videos[0], [0], own_size(videos[0]))
    assert decoded == 2 * [videos[0].path]


def test_a_process_that_was_not_forked_has_a_memory_of_its_own(videos, decoded):
    read = keeping(videos)
    read(videos[0], [0], own_size(videos[0]))
    other = pickle.loads(pickle.dumps(read))
    other(videos[0], [0], own_size(videos[0]))
    assert decoded == 2 * [videos[0].path]


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


@pytest.mark.parametrize(("memory", "kept"), [(10**10, True), (10**3, False)])
def test_small_data_sets_stay_in_memory_by_themselves(videos, monkeypatch, capsys, decoded, memory, kept):
    monkeypatch.setattr("bodvcl.data.sources.source.machine_memory", lambda: memory)
    plan = ClipPlan(videos, CLIP, AugmentConfig(), batch_size=4, seed=0)
    source = open_source(plan, DecodeConfig(), device=torch.device("cpu"), workers=0)
    for epoch in range(2):
        list(source.epoch(epoch))
    source.close()
    assert len(decoded) == (1 if kept else 2) * len(videos)
    assert ("all videos stay decoded in memory, " in capsys.readouterr().out) == kept


def test_the_processes_of_a_machine_share_its_memory(videos, monkeypatch, capsys):
    plan = ClipPlan(videos, CLIP, AugmentConfig(), batch_size=4, seed=0)
    monkeypatch.setattr("bodvcl.data.sources.source.machine_memory", lambda: 15 * bytes_decoded(plan))
    for local_size, kept in ((1, True), (2, False)):
        open_source(plan, DecodeConfig(), device=torch.device("cpu"), workers=0, local_size=local_size)
        assert ("stay decoded" in capsys.readouterr().out) == kept
