"""Reading, controlling and caching: features of real files."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from bodvcl.config.schema import ClipConfig, ModelConfig, ShapesConfig, TrainConfig
from bodvcl.data.files.scan import scan
from bodvcl.data.files.video import VideoInfo
from bodvcl.data.made import shapes
from bodvcl.errors import DataError
from bodvcl.evaluate.controls import DynamicControl, StaticControl
from bodvcl.evaluate.feature_cache import feature_key, load_features, save_features
from bodvcl.evaluate.features import VideoFeatures
from bodvcl.evaluate.flow import TVL1
from bodvcl.evaluate.probed_encoder import ProbedEncoder
from bodvcl.evaluate.reading import read_clips
from bodvcl.evaluate.video_features import video_features
from bodvcl.models.encoder import VideoEncoder, build_encoder

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> TrainConfig:
    return TrainConfig(
        shapes=ShapesConfig(
            cache=tmp_path_factory.mktemp("shapes"), train_videos=8, probe_videos=16, frames=20, size=32
        ),
        clip=ClipConfig(frames=4, stride=3, size=16),
        model=ModelConfig(width=4, embed_dim=8, hidden_dim=16),
    )


@pytest.fixture(scope="module")
def videos(config: TrainConfig) -> list[VideoInfo]:
    return scan(
        shapes.prepare(config.shapes, workers=1, progress=False), clip=config.clip, progress=False
    ).videos[:12]


@pytest.fixture
def encoder(config: TrainConfig) -> VideoEncoder:
    torch.manual_seed(0)
    return build_encoder(config.model)


def probed(encoder: VideoEncoder, config: TrainConfig) -> ProbedEncoder:
    return ProbedEncoder("e", encoder, config.model, config.clip, config.augment, config.koopman)


def clips_of(videos: list[VideoInfo], clip: ClipConfig, **options) -> tuple[torch.Tensor, list[int]]:
    batches = list(read_clips(videos, clip, **{"clips_per_video": 2, "workers": 0} | options))
    numbers = [int(n) for batch in batches for n in batch.videos]
    return torch.cat([batch.clips for batch in batches]), numbers


def test_workers_change_nothing(config: TrainConfig, videos: list[VideoInfo]) -> None:
    options = {"control": StaticControl(0), "clips_per_video": 100}
    one, numbers = clips_of(videos[:4], config.clip, **options)
    two, others = clips_of(videos[:4], config.clip, workers=2, **options)
    assert numbers == others == [0, 1, 2, 3]
    assert one.shape == (400, 4, 16, 16, 3)
    assert torch.equal(one, two)


def test_a_control_that_stays_in_this_process_is_the_same(
    config: TrainConfig, videos: list[VideoInfo]
) -> None:
    class Here(TVL1):
        on_workers = False

    results = [
        clips_of(videos[:3], config.clip, control=DynamicControl(0, flow, config.clip.stride), workers=1)[0]
        for flow in (TVL1(), Here())
    ]
    assert torch.equal(*results)


def test_controlled_clips(config: TrainConfig, videos: list[VideoInfo]) -> None:
    plain, _ = clips_of(videos, config.clip)
    still, _ = clips_of(videos, config.clip, control=StaticControl(0))
    assert (still == still[:, :1]).all()
    assert (still[:, :1] == plain).flatten(2).all(-1).any(1).all()
    noise, _ = clips_of(videos, config.clip, control=DynamicControl(0, TVL1(), 3))
    assert noise.shape == plain.shape
    first = noise[:, 0].float()
    assert abs(float(first.mean()) - 127.5) < 3
    assert abs(float(first.std()) - 73.9) < 3


def test_an_unreadable_file_shifts_nothing(
    config: TrainConfig, videos: list[VideoInfo], encoder: VideoEncoder, tmp_path: Path
) -> None:
    gone = replace(videos[0], path=str(tmp_path / "gone.mp4"))
    mixed = [videos[0], gone, videos[1], videos[2]]
    options = {"clips_per_video": 1, "workers": 0}
    found = video_features(probed(encoder, config), mixed, CPU, **options)
    plain = video_features(probed(encoder, config), videos[:3], CPU, **options)
    assert found.rows.tolist() == [0, 2, 3]
    for kind, values in plain.kinds.items():  # batches of another size may round differently
        torch.testing.assert_close(
            found.kinds[kind], values, rtol=1e-2, atol=1e-2 * values.abs().max().item()
        )
    with pytest.raises(DataError, match="none of 2 videos could be read"):
        video_features(probed(encoder, config), [gone, gone], CPU, **options)


def test_features_are_reused_until_something_changes(
    config: TrainConfig, videos: list[VideoInfo], encoder: VideoEncoder, tmp_path: Path
) -> None:
    said: list[str] = []

    def features(**changes) -> VideoFeatures:
        options = {"clips_per_video": 2, "control": None} | changes
        said.clear()
        return video_features(
            probed(options.pop("encoder", encoder), options.pop("config", config)),
            options.pop("videos", videos),
            CPU,
            cache=tmp_path,
            workers=0,
            say=said.append,
            **options,
        )

    fresh = features()
    assert said == []
    again = features()
    assert len(said) == 1
    assert "reused from" in said[0]
    assert "--no-cache" in said[0]
    assert (again.rows == fresh.rows).all()
    assert all(torch.equal(again.kinds[kind], fresh.kinds[kind]) for kind in fresh.kinds)
    relabelled = [replace(video, labels={"new": "label"}, split="x") for video in videos]
    features(videos=relabelled)
    assert said
    other = build_encoder(config.model)
    for change in (
        {"encoder": other},
        {"clips_per_video": 1},
        {"control": StaticControl(0)},
        {"control": StaticControl(1)},
        {"videos": videos[:-1]},
        {"config": replace(config, clip=replace(config.clip, stride=2))},
        {"config": replace(config, koopman=replace(config.koopman, xi=0.2))},
        {"config": replace(config, augment=replace(config.augment, mean=0.5))},
    ):
        features(**change)
        assert said == [], change
        features(**change)
        assert said, change


def test_a_changed_file_has_another_key(
    config: TrainConfig, videos: list[VideoInfo], encoder: VideoEncoder, tmp_path: Path
) -> None:
    copy = tmp_path / "video.mp4"
    copy.write_bytes(Path(videos[0].path).read_bytes())
    changing = [replace(videos[0], path=str(copy))]

    def key() -> str:
        return feature_key(probed(encoder, config), changing, 1, None, CPU)

    before = key()
    assert key() == before
    os.utime(copy, (1, 1))
    assert key() != before
    copy.unlink()
    assert len(key()) == len(before)


def test_a_broken_cache_file_is_no_cache_file(tmp_path: Path) -> None:
    features = VideoFeatures(np.array([0, 2]), {"backbone": torch.randn(2, 3)})
    path = save_features(tmp_path / "deep", "k", features)
    loaded = load_features(tmp_path / "deep", "k")
    assert loaded is not None
    assert torch.equal(loaded.kinds["backbone"], features.kinds["backbone"])
    for broken in (b"", b"no zip file", path.read_bytes()[:100]):
        path.write_bytes(broken)
        assert load_features(tmp_path / "deep", "k") is None


def test_a_cache_that_cannot_be_written_is_said(
    config: TrainConfig, videos: list[VideoInfo], encoder: VideoEncoder, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    said: list[str] = []
    found = video_features(
        probed(encoder, config),
        videos[:2],
        CPU,
        clips_per_video=1,
        cache=tmp_path / "file" / "cache",
        workers=0,
        say=said.append,
    )
    assert len(found.rows) == 2
    assert "are not kept: cannot write to" in said[0]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_gives_the_same_features(
    config: TrainConfig, videos: list[VideoInfo], encoder: VideoEncoder, tmp_path: Path
) -> None:
    options = {"clips_per_video": 2, "workers": 0, "cache": tmp_path}
    here = video_features(probed(encoder, config), videos, CPU, **options)
    there = video_features(probed(encoder, config), videos, torch.device("cuda"), **options)
    assert len(list(tmp_path.iterdir())) == 2
    for kind, values in here.kinds.items():
        assert there.kinds[kind].device == CPU
        assert torch.cosine_similarity(values, there.kinds[kind]).min() > 0.999, kind
