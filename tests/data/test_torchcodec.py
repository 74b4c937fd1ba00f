"""TorchCodec gives the frames that were drawn, and the pixels of the PyAV source."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from replaced import assert_replaced
from smooth_video import MEAN, MOST, VP9, write_waves
from tar_files import assert_a_tar_gives_the_same
from video_files import cut_without_decoding, read_barcode, write_video

from bodvcl.config.schema import AugmentConfig, ClipConfig
from bodvcl.data.clips.plan import ClipPlan
from bodvcl.data.files.probing import probe_video
from bodvcl.data.sources.pyav_source import PyAVSource
from bodvcl.data.sources.source_choice import can_run_torchcodec

able, why_not = can_run_torchcodec([])
if not able:
    pytest.skip(why_not, allow_module_level=True)

from bodvcl.data.sources.torchcodec_source import TorchCodecSource  # noqa: E402  only where it loads

CPU = torch.device("cpu")
CLIP = ClipConfig(frames=4, stride=2, views=2, size=16)
WHOLE = AugmentConfig(crop_area=(1.0, 1.0), crop_aspect=(80 / 48, 80 / 48), flip=0.0, jitter=0.0)
FORMATS = {
    "h264.mp4": {},
    "open_groups.mp4": {
        "options": {"x264-params": "open-gop=1:bframes=3:keyint=10:min-keyint=10:scenecut=0"}
    },
    "variable.mkv": {"stamps": [i * 40 + (i % 7) * 3 for i in range(50)]},
    "ten_bit.mp4": {"pix_fmt": "yuv420p10le"},
    "odd_size.mp4": {"size": (47, 81), "pix_fmt": "yuv444p"},
    "wide_colour.mov": {"codec": "mjpeg", "pix_fmt": "yuvj422p"},
    "hevc.mp4": {"codec": "libx265", "options": {"x265-params": "log-level=none"}},
    "vp9.webm": VP9,
}


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("torchcodec")
    return [probe_video(write_waves(folder / f"{number}.mp4", 30 + number)) for number in range(6)]


def source_of(videos, *, batch_size=3, clip=CLIP, augment=None, **settings) -> TorchCodecSource:
    augment = augment or AugmentConfig(blur=0.5)
    return TorchCodecSource(
        ClipPlan(videos, clip, augment, batch_size=batch_size, seed=0), CPU, workers=2, **settings
    )


def assert_barcodes(path) -> None:
    info = probe_video(path)
    assert can_run_torchcodec([info]) == (True, "")
    clip = ClipConfig(frames=5, stride=3, views=3, size=80)
    source = source_of([info, info], batch_size=2, clip=clip, augment=WHOLE)
    truth = PyAVSource(ClipPlan([info, info], clip, WHOLE, batch_size=2, seed=0), workers=0)
    for epoch in range(3):
        ours, expected = next(source.epoch(epoch)), next(truth.epoch(epoch))
        assert torch.equal(ours.frames, expected.frames)
        for row, other in zip(ours.clips, expected.clips):
            assert [read_barcode(a.numpy()) for a in row] == [read_barcode(b.numpy()) for b in other]
    source.close()


@pytest.mark.parametrize("name", FORMATS)
def test_frames_are_those_that_were_drawn(tmp_path, name):
    assert_barcodes(write_video(tmp_path / name, **FORMATS[name]))


def test_frames_hidden_by_an_edit_list_do_not_count(good_video, tmp_path):
    assert_barcodes(cut_without_decoding(good_video, tmp_path / "cut.mp4", 17))


@pytest.mark.parametrize("degrees", [90, 180, -90])
def test_rotation_is_applied(tmp_path, degrees):
    info = probe_video(write_video(tmp_path / "turned.mp4", 20, rotation=degrees))
    augment = AugmentConfig(jitter=0.0, flip=0.0, crop_area=(1.0, 1.0), crop_aspect=(0.6, 1 / 0.6))
    clip = ClipConfig(frames=3, stride=1, size=80)
    ours = next(source_of([info, info], batch_size=2, clip=clip, augment=augment).epoch(0))
    truth = next(PyAVSource(ClipPlan([info, info], clip, augment, batch_size=2, seed=0), workers=0).epoch(0))
    assert (ours.clips.float() - truth.clips.float()).abs().mean() < MEAN


@pytest.mark.parametrize("size", [96, 112])
def test_pixels_are_close_to_those_of_pyav(videos, size):
    clip = ClipConfig(frames=4, stride=2, views=2, size=size)
    ours, truth = (
        source_of(videos, clip=clip),
        PyAVSource(ClipPlan(videos, clip, AugmentConfig(blur=0.5), batch_size=3, seed=0), workers=0),
    )
    for epoch in range(2):
        for a, b in zip(ours.epoch(epoch), truth.epoch(epoch), strict=True):
            assert torch.equal(a.videos, b.videos)
            assert torch.equal(a.params.colour, b.params.colour)
            difference = (a.clips.float() - b.clips.float()).abs()
            assert difference.mean() < MEAN
            assert difference.max() < MOST
    ours.close()


def test_resuming_and_threads_change_nothing(videos):
    whole, resumed = source_of(videos), source_of(videos)
    batches = [batch for epoch in range(2) for batch in whole.epoch(epoch)]
    later = list(resumed.epoch(0, start_step=1)) + list(resumed.epoch(1))
    for a, b in zip(batches[1:], later, strict=True):
        assert (a.epoch, a.step) == (b.epoch, b.step)
        assert torch.equal(a.clips, b.clips)
        assert torch.equal(a.frames, b.frames)
    whole.close()
    resumed.close()


@pytest.mark.parametrize("kind", ["gone", "empty", "truncated", "another"])
def test_another_video_replaces_a_bad_one_that_is_named(tmp_path, kind):
    videos = [probe_video(write_video(tmp_path / f"{number}.mkv")) for number in range(5)]
    whole = source_of(videos)
    bad = whole.plan.indices(0, 0)[1]
    before = next(whole.epoch(0))
    whole.close()
    path = videos[bad].path
    if kind == "gone":
        os.remove(path)
    elif kind == "another":
        write_video(Path(path), 30)
    else:
        os.truncate(path, 0 if kind == "empty" else os.path.getsize(path) // 2)
    source = source_of(videos, max_bad=0.5)
    batch = next(source.epoch(0))
    source.close()
    assert assert_replaced(before, batch, bad) == 1
    assert list(source.failed) == [path]
    assert "TorchCodec" in source.failed[path]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_gpu_gives_the_clips_of_pyav(tmp_path):
    videos = [probe_video(write_waves(tmp_path / f"{n}.mp4", size=(144, 192))) for n in range(4)]
    device = torch.device("cuda", torch.cuda.current_device())
    clip, augment = ClipConfig(frames=4, stride=2, size=144), AugmentConfig(crop_area=(0.5, 1.0))
    source = TorchCodecSource(ClipPlan(videos, clip, augment, batch_size=4, seed=0), device, workers=2)
    ours = next(source.epoch(0))
    source.close()
    truth = next(PyAVSource(ClipPlan(videos, clip, augment, batch_size=4, seed=0), workers=0).epoch(0))
    assert ours.clips.device == device
    assert torch.equal(ours.frames, truth.frames)
    assert (ours.clips.cpu().float() - truth.clips.float()).abs().mean() < MEAN


def test_videos_in_a_tar_file_give_the_same_clips(videos, tmp_path):
    assert_a_tar_gives_the_same(source_of, videos, tmp_path / "x.tar")
