"""The DALI graph, on a CPU: the frames that were drawn, resuming, and the pixels of the PyAV source."""

from __future__ import annotations

import itertools
import os

import pytest
import torch
from replaced import assert_replaced
from smooth_video import MEAN, MJPEG, MOST, VP9, write_waves
from tar_files import assert_a_tar_gives_the_same
from video_files import read_barcode, write_video

pytest.importorskip("nvidia.dali", reason="DALI is not installed (pip install nvidia-dali-cuda130)")

from bodvcl.config.schema import AugmentConfig, ClipConfig
from bodvcl.data.clips.augment import finish
from bodvcl.data.clips.batch import ClipBatch
from bodvcl.data.clips.plan import ClipPlan
from bodvcl.data.files.probing import probe_video
from bodvcl.data.sources.dali_source import DaliSource
from bodvcl.data.sources.pyav_source import PyAVSource
from bodvcl.data.sources.source_choice import can_run_dali
from bodvcl.errors import DataError

CPU = torch.device("cpu")
CLIP = ClipConfig(frames=4, stride=2, views=2, size=16)
WHOLE = AugmentConfig(crop_area=(1.0, 1.0), crop_aspect=(80 / 48, 80 / 48), flip=0.0, jitter=0.0)
STAMPS = [i * 40 + (i % 7) * 3 for i in range(50)]
FORMATS = {
    "vp9.webm": VP9,
    "variable.webm": VP9 | {"stamps": STAMPS},
    "one_group.mkv": VP9 | {"gop": 250},
    "vp8.webm": {"codec": "libvpx", "options": {"cpu-used": "8", "deadline": "realtime"}},
    "vp8_hidden.webm": {
        "codec": "libvpx",
        "options": {"auto-alt-ref": "1", "lag-in-frames": "10", "cpu-used": "8"},
    },
    "mjpeg.mov": MJPEG,
}


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dali")
    kinds = itertools.cycle([("webm", VP9), ("mov", MJPEG)])
    return [
        probe_video(write_video(folder / f"{number}.{suffix}", 30 + number, **kind))
        for number, (suffix, kind) in zip(range(8), kinds)
    ]


@pytest.fixture(scope="module")
def waves(tmp_path_factory):
    folder = tmp_path_factory.mktemp("waves")
    files = [write_waves(folder / f"{number}.webm", **VP9) for number in range(2)]
    files += [write_waves(folder / f"{number}.mov", **MJPEG) for number in range(2)]
    return [probe_video(path) for path in files]


@pytest.fixture
def breakable(tmp_path):
    return [probe_video(write_video(tmp_path / f"{number}.webm", 30, **VP9)) for number in range(6)]


def source_of(
    videos, *, batch_size=4, clip=CLIP, augment=None, rank=0, world_size=1, max_bad=0.01
) -> DaliSource:
    augment = augment or AugmentConfig(blur=0.5)
    plan = ClipPlan(videos, clip, augment, batch_size=batch_size, seed=0, rank=rank, world_size=world_size)
    return DaliSource(plan, CPU, workers=2, max_bad=max_bad)


def same(a: ClipBatch, b: ClipBatch) -> bool:
    return (
        (a.epoch, a.step) == (b.epoch, b.step)
        and torch.equal(a.clips, b.clips)
        and torch.equal(a.videos, b.videos)
        and torch.equal(a.frames, b.frames)
        and torch.equal(a.params.colour, b.params.colour)
    )


@pytest.mark.parametrize("name", FORMATS)
def test_frames_are_those_that_were_drawn(tmp_path, name):
    info = probe_video(write_video(tmp_path / name, **FORMATS[name]))
    if not can_run_dali([info], CPU)[0]:
        pytest.skip(can_run_dali([info], CPU)[1])
    clip = ClipConfig(frames=5, stride=3, views=3, size=80)
    source = source_of([info, info], batch_size=2, clip=clip, augment=WHOLE)
    try:
        for epoch in range(3):
            batch = next(source.epoch(epoch))
            assert batch.clips.shape == (6, 5, 80, 80, 3)
            for row, numbers in zip(batch.clips, batch.frames.tolist()):
                assert [read_barcode(image.numpy()) for image in row] == numbers
    finally:
        source.close()


@pytest.mark.parametrize("size", [96, 112])
def test_pixels_are_close_to_those_of_pyav(waves, size):
    clip = ClipConfig(frames=4, stride=2, views=2, size=size)
    augment = AugmentConfig(blur=0.5, crop_area=(0.5, 1.0))
    dali = source_of(waves, clip=clip, augment=augment)
    pyav = PyAVSource(ClipPlan(waves, clip, augment, batch_size=4, seed=0), workers=0)
    try:
        for epoch in range(2):
            for ours, truth in zip(dali.epoch(epoch), pyav.epoch(epoch), strict=True):
                assert torch.equal(ours.videos, truth.videos)
                assert torch.equal(ours.frames, truth.frames)
                for name in ("colour", "flip", "sigma"):
                    assert torch.equal(getattr(ours.params, name), getattr(truth.params, name))
                difference = (ours.clips.float() - truth.clips.float()).abs()
                assert difference.mean() < MEAN
                assert difference.max() < MOST
                finished = (finish(ours, augment) - finish(truth, augment)).abs() * augment.std * 255
                assert finished.mean() < MEAN
    finally:
        dali.close()


def test_colours_of_a_bt709_file_are_corrected(tmp_path):
    info = probe_video(write_waves(tmp_path / "a.webm", bt709=True, **VP9))
    assert info.colour_space == 1
    assert can_run_dali([info, info], CPU) == (True, "")
    clip, augment = ClipConfig(frames=4, stride=2, size=96), AugmentConfig(crop_area=(0.5, 1.0))
    dali = source_of([info, info], batch_size=2, clip=clip, augment=augment)
    ours = next(dali.epoch(0))
    dali.close()
    truth = next(PyAVSource(ClipPlan([info, info], clip, augment, batch_size=2, seed=0), workers=0).epoch(0))
    assert (ours.clips.float() - truth.clips.float()).abs().mean() > MEAN
    finished = (finish(ours, augment) - finish(truth, augment)).abs() * augment.std * 255
    assert finished.mean() < MEAN


def test_batches_stay_what_they_were(videos):
    source = source_of(videos)
    try:
        held = [batch for epoch in range(4) for batch in source.epoch(epoch)]
        copies = [batch.clips.clone() for batch in held]
        for epoch in range(4, 8):
            list(source.epoch(epoch))
        assert all(torch.equal(batch.clips, copy) for batch, copy in zip(held, copies))
    finally:
        source.close()


def test_resuming_gives_the_uninterrupted_batches(videos):
    whole, resumed = source_of(videos), source_of(videos)
    try:
        batches = [batch for epoch in range(3) for batch in whole.epoch(epoch)]
        later = list(resumed.epoch(1, start_step=1)) + list(resumed.epoch(2))
        assert all(same(a, b) for a, b in zip(batches[3:], later, strict=True))
    finally:
        whole.close()
        resumed.close()


def test_the_shares_of_all_ranks_are_the_batch_of_one(videos):
    whole = source_of(videos)
    ranks = [source_of(videos, rank=rank, world_size=2) for rank in range(2)]
    try:
        for batch, *shares in zip(whole.epoch(0), *(rank.epoch(0) for rank in ranks), strict=True):
            assert torch.equal(torch.cat([share.clips for share in shares]), batch.clips)
    finally:
        for source in (whole, *ranks):
            source.close()


def damage(path: str, kind: str) -> None:
    if kind == "gone":
        os.remove(path)
    elif kind == "empty":
        os.truncate(path, 0)
    elif kind == "text":
        with open(path, "w") as file:
            file.write("not a video\n" * 100)
    else:
        os.truncate(path, os.path.getsize(path) // 2)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("gone", "no such file"),
        ("empty", "0 bytes"),
        ("text", "Failed to create video decoder"),
        ("truncated", "out-of-bounds frame"),
    ],
)
def test_another_video_replaces_a_bad_one_that_is_named(breakable, kind, reason):
    whole = source_of(breakable, batch_size=3)
    before = [batch for epoch in range(2) for batch in whole.epoch(epoch)]
    whole.close()
    damage(breakable[4].path, kind)
    source = source_of(breakable, batch_size=3, max_bad=0.5)
    try:
        after = [batch for epoch in range(2) for batch in source.epoch(epoch)]
    finally:
        source.close()
    assert list(source.failed) == [breakable[4].path]
    assert reason in source.failed[breakable[4].path]
    assert "\n" not in source.failed[breakable[4].path]
    replaced = [assert_replaced(one, other, 4) for one, other in zip(before, after, strict=True)]
    assert sum(replaced) == 2


def test_too_many_bad_files_stop_the_run(breakable):
    for video in breakable[:3]:
        damage(video.path, "text")
    source = source_of(breakable, batch_size=6, max_bad=0.2)
    try:
        with pytest.raises(DataError, match="3 of 6 videos"):
            next(source.epoch(0))
    finally:
        source.close()


def test_a_batch_without_a_readable_video_stops(breakable):
    for video in breakable:
        damage(video.path, "empty")
    source = source_of(breakable, batch_size=6, max_bad=1.0)
    with pytest.raises(DataError, match="only 0 of 6 videos"):
        next(source.epoch(0))
    source.close()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("bt709", [False, True])
def test_gpu_gives_the_clips_of_pyav(tmp_path, bt709):
    size = {"size": (144, 192), "bt709": bt709}
    videos = [probe_video(write_waves(tmp_path / f"{number}.mp4", **size)) for number in range(4)]
    device = torch.device("cuda", torch.cuda.current_device())
    assert can_run_dali(videos, device) == (True, "")
    clip, augment = ClipConfig(frames=4, stride=2, size=144), AugmentConfig(crop_area=(0.5, 1.0))
    dali = DaliSource(ClipPlan(videos, clip, augment, batch_size=4, seed=0), device, workers=2)
    pyav = PyAVSource(ClipPlan(videos, clip, augment, batch_size=4, seed=0), workers=0)
    held = []
    for epoch in range(4):
        ours, truth = next(dali.epoch(epoch)), next(pyav.epoch(epoch))
        assert ours.clips.device == device
        assert torch.equal(ours.frames, truth.frames)
        held.append((finish(ours, augment, device), finish(truth, augment, device)))
    dali.close()
    for ours, truth in held:
        assert ((ours - truth).abs() * augment.std * 255).mean() < MEAN


def test_videos_in_a_tar_file_give_the_same_clips(videos, tmp_path):
    assert_a_tar_gives_the_same(source_of, videos, tmp_path / "x.tar")
