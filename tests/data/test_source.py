"""The decoder follows from what is installed and from the files; the impossible is refused with a reason."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from video_files import cut_without_decoding, write_video

from bodvcl.config.schema import AugmentConfig, ClipConfig, DecodeConfig
from bodvcl.data.clips.plan import ClipPlan
from bodvcl.data.files.probing import probe_video
from bodvcl.data.sources import source_choice
from bodvcl.data.sources.pyav_source import PyAVSource
from bodvcl.data.sources.source import open_source
from bodvcl.data.sources.source_choice import can_run_dali, can_run_torchcodec, choose_decoder
from bodvcl.errors import ConfigError

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
YES, NO = (True, ""), (False, "the reason")
VP9 = {"codec": "libvpx-vp9", "options": {"cpu-used": "8", "deadline": "realtime"}}


@pytest.mark.parametrize(
    ("requested", "device", "dali", "torchcodec", "name", "reason"),
    [
        ("auto", CPU, YES, YES, "pyav", "on the CPU"),
        ("auto", CUDA, YES, YES, "dali", "on the GPU"),
        ("auto", CUDA, NO, YES, "pyav", "the reason"),
        ("pyav", CUDA, YES, YES, "pyav", "asked"),
        ("dali", CPU, YES, NO, "dali", "asked"),
        ("torchcodec", CPU, NO, YES, "torchcodec", "asked"),
    ],
)
def test_choice(requested, device, dali, torchcodec, name, reason):
    chosen, why = choose_decoder(requested, device, dali, torchcodec)
    assert chosen == name
    assert reason in why


@pytest.mark.parametrize("requested", ["dali", "torchcodec"])
def test_what_cannot_be_done_is_refused(requested):
    with pytest.raises(ConfigError, match=rf"--decoder {requested} cannot be used: the reason.*pyav"):
        choose_decoder(requested, CUDA, NO, NO)


@pytest.fixture(scope="module")
def vp9(tmp_path_factory):
    return probe_video(write_video(tmp_path_factory.mktemp("vp9") / "a.webm", 10, **VP9))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({}, ""),
        ({"codec": "h264"}, "does not decode h264 on cpu"),
        ({"sequential": True}, "timestamps"),
        ({"hidden": 4}, "4 stored frames"),
        ({"rotation": 90}, "rotation"),
        ({"streams": 2}, "2 video streams"),
        ({"pixel_format": "yuv420p10le"}, "yuv420p10le"),
        ({"colour_space": 1}, ""),
        ({"colour_space": 9}, "neither BT.601 nor BT.709 (matrix 9"),
    ],
)
def test_dali_is_for_files_that_it_reads_exactly(vp9, change, reason):
    able, why_not = can_run_dali([vp9, dataclasses.replace(vp9, **change)], CPU, installed=True)
    assert able == (not reason)
    assert reason in why_not
    assert not reason or "1 of 2 videos" in why_not


def test_dali_decodes_more_on_a_gpu(vp9, good_video):
    h264 = probe_video(good_video)
    assert can_run_dali([vp9, h264], CUDA, installed=True) == (True, "")
    assert not can_run_dali([vp9, h264], CPU, installed=True)[0]


def test_torchcodec_is_not_for_files_without_timestamps(vp9, tmp_path):
    avi = probe_video(write_video(tmp_path / "a.avi", 10, codec="mpeg4"))
    cut = probe_video(cut_without_decoding(write_video(tmp_path / "a.mp4"), tmp_path / "cut.mp4", 17))
    assert can_run_torchcodec([vp9, cut], trouble="") == (True, "")
    able, why_not = can_run_torchcodec([vp9, avi], trouble="")
    assert not able
    assert "a.avi: no usable timestamps" in why_not


def test_a_missing_library_is_named_with_its_extra(vp9):
    assert "pip install nvidia-dali-cuda130" in can_run_dali([vp9], CPU, installed=False)[1]
    assert can_run_torchcodec([vp9], trouble="not installed") == (False, "not installed")


def opened(video, *, max_bad=0.01, decoder="auto", rank=0, world_size=1):
    plan = ClipPlan(
        [video, video],
        ClipConfig(frames=3, stride=1, size=16),
        AugmentConfig(),
        batch_size=2,
        seed=0,
        rank=rank,
        world_size=world_size,
    )
    return open_source(plan, DecodeConfig(max_bad=max_bad, keep=0.0), device=CPU, decoder=decoder, workers=0)


def test_pyav_is_what_a_cpu_gets(vp9, capsys):
    source = opened(vp9, max_bad=0.5)
    assert isinstance(source, PyAVSource)
    assert source.steps_per_epoch == 1
    assert next(source.epoch(0)).clips.shape == (4, 3, 16, 16, 3)
    assert capsys.readouterr().out == "decoding with pyav: the training runs on the CPU\n"
    second = opened(vp9, rank=1, world_size=2)
    assert len(next(second.epoch(0)).videos) == 1
    assert capsys.readouterr().out == ""


def test_the_options_of_decoding_reach_the_source(vp9, monkeypatch):
    made = []
    monkeypatch.setattr("bodvcl.data.sources.source.PyAVSource", lambda plan, **given: made.append(given))
    plan = ClipPlan([vp9, vp9], ClipConfig(), AugmentConfig(), batch_size=2, seed=0)
    open_source(plan, DecodeConfig(timeout=7.0, max_bad=0.25, keep=1.5), device=CPU, workers=3)
    assert made == [{"workers": 3, "timeout": 7.0, "max_bad": 0.25, "keep": 1.5}]


@pytest.mark.parametrize("name", ["dali", "torchcodec"])
def test_asking_for_what_is_not_installed_names_the_package(vp9, name, monkeypatch):
    monkeypatch.setattr(source_choice, "_is_installed", lambda module: False)
    package = {"dali": "nvidia-dali-cuda130", "torchcodec": "torchcodec"}[name]
    with pytest.raises(ConfigError, match=rf"--decoder {name} cannot be used: .*pip install {package}"):
        opened(vp9, decoder=name)


@pytest.mark.parametrize(
    ("name", "module"), [("dali", "nvidia.dali"), ("torchcodec", "torchcodec")], ids=["dali", "torchcodec"]
)
def test_asking_for_what_is_installed_gives_it(vp9, name, module, capsys):
    pytest.importorskip(module, reason=f"{name} is not installed")
    if name == "torchcodec" and not can_run_torchcodec([vp9])[0]:
        pytest.skip(can_run_torchcodec([vp9])[1])
    source = opened(vp9, decoder=name)
    assert type(source).__name__.lower() == f"{name}source"
    assert next(source.epoch(0)).clips.shape == (4, 3, 16, 16, 3)
    assert capsys.readouterr().out == f"decoding with {name}: as asked for\n"
    source.close()
