"""The whole evaluation on real video files."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bodvcl.config.schema import ClipConfig, ModelConfig, ShapesConfig, TrainConfig
from bodvcl.data.files.scan import scan
from bodvcl.data.files.video import VideoInfo
from bodvcl.data.made import shapes
from bodvcl.errors import DataError
from bodvcl.evaluate.end_of_run import evaluate_run, spread
from bodvcl.models.encoder import VideoEncoder, build_encoder
from bodvcl.runs.analysis import load_analysis

SEMANTICS = {"background": "static", "shape": "static", "brightness": "dynamic", "trajectory": "dynamic"}


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> TrainConfig:
    cache = tmp_path_factory.mktemp("shapes")
    return TrainConfig(
        shapes=ShapesConfig(cache=cache, train_videos=8, probe_videos=24, frames=12, size=32),
        clip=ClipConfig(frames=4, stride=2, size=16),
        model=ModelConfig(width=4, embed_dim=8),
    )


@pytest.fixture(scope="module")
def videos(config: TrainConfig) -> list[VideoInfo]:
    found = scan(shapes.prepare(config.shapes, workers=1, progress=False), clip=config.clip, progress=False)
    return [video for video in found.videos if video.split.startswith("probe")]


def encoders(config: TrainConfig) -> list[VideoEncoder]:
    torch.manual_seed(0)
    return [build_encoder(config.model), build_encoder(config.model)]


def evaluate(
    config: TrainConfig,
    pair: list[VideoEncoder],
    videos: list[VideoInfo],
    run_dir: Path,
    **options: object,
) -> list[dict[str, object]]:
    slices = {"clip": config.clip, "augment": config.augment, "koopman": config.koopman, "seed": config.seed}
    return evaluate_run(*pair, videos, run_dir, "cpu", **slices, **options)


def test_files_and_rows(config: TrainConfig, videos: list[VideoInfo], tmp_path: Path) -> None:
    rows = evaluate(config, encoders(config), videos, tmp_path, kinds=SEMANTICS, clips_per_video=2)
    assert json.loads((tmp_path / "probe.json").read_text())["rows"] == rows
    backbone = {row["semantic"]: row for row in rows if row["features"] == "backbone"}
    assert {name: row["kind"] for name, row in backbone.items()} == SEMANTICS
    assert all((row["train"], row["test"], row["classes"]) == (12, 12, 2) for row in backbone.values())
    assert backbone["background"]["untrained"] > 0.75
    analysis = load_analysis(tmp_path / "analysis.npz")
    assert analysis.before is not None
    assert analysis.after.eigenvalues.shape == (48, 3)
    assert analysis.examples.shape == (8, 4, 16, 16, 3)
    first = videos[0]
    assert analysis.captions[0].startswith(Path(first.path).name)
    assert all(f"{name} {value}" in analysis.captions[0] for name, value in first.labels.items())


def test_pictures_belong_to_their_captions(
    config: TrainConfig, videos: list[VideoInfo], tmp_path: Path
) -> None:
    evaluate(config, encoders(config), videos, tmp_path)
    analysis = load_analysis(tmp_path / "analysis.npz")
    for picture, caption in zip(analysis.examples, analysis.captions):
        green, blue = picture[..., 1].mean(), picture[..., 2].mean()
        assert f"background {'green' if green > blue else 'blue'}" in caption


def test_the_same_encoder_twice_gains_nothing(
    config: TrainConfig, videos: list[VideoInfo], tmp_path: Path
) -> None:
    encoder = encoders(config)[0]
    rows = evaluate(config, [encoder, encoder], videos, tmp_path)
    assert [row["gain"] for row in rows] == [0.0] * 16


def test_without_labels_there_are_pictures_but_no_probe(
    config: TrainConfig, videos: list[VideoInfo], tmp_path: Path
) -> None:
    bare = [replace(video, labels={}, split="") for video in videos[:3]]
    assert evaluate(config, encoders(config), bare, tmp_path) == []
    assert [path.name for path in tmp_path.iterdir()] == ["analysis.npz"]
    assert len(load_analysis(tmp_path / "analysis.npz").captions) == 3


def test_columns_that_are_no_labels_are_skipped_with_the_reason(
    config: TrainConfig, videos: list[VideoInfo], tmp_path: Path
) -> None:
    more = [
        replace(video, labels={"id": str(n), "seconds": f"{n % 3}.5", "shape": video.labels["shape"]})
        for n, video in enumerate(videos)
    ]
    rows = evaluate(config, encoders(config), more, tmp_path)
    assert {(row["semantic"], row["features"]) for row in rows} == {
        (name, kind)
        for name in ("id", "seconds", "shape")
        for kind in ("backbone", "backbone+std", "static", "dynamic")
    }
    reasons = {row["semantic"]: row["skipped"] for row in rows}
    assert reasons["shape"] is None
    assert reasons["id"] == "each of 24 videos has a value of its own"
    assert reasons["seconds"].startswith("numbers with a fraction")
    only = [replace(video, labels={"id": video.labels["id"]}) for video in more]
    rows = evaluate(config, encoders(config), only, tmp_path)
    assert {row["skipped"] for row in rows} == {reasons["id"]}
    assert load_analysis(tmp_path / "analysis.npz").before is not None


def test_an_unreadable_video_does_not_shift_the_labels(
    config: TrainConfig, videos: list[VideoInfo], tmp_path: Path
) -> None:
    broken = [replace(videos[0], path=str(tmp_path / "gone.mp4"), labels={"background": "?"}), *videos]
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    rows = evaluate(config, encoders(config), broken, run_dir)
    background = rows[0]
    assert background["semantic"] == "background"
    assert background["untrained"] > 0.75
    assert background["train"] + background["test"] == 24


def test_no_readable_video(config: TrainConfig, videos: list[VideoInfo], tmp_path: Path) -> None:
    gone = [replace(videos[0], path=str(tmp_path / "gone.mp4"))]
    with pytest.raises(DataError, match="none of 1 videos could be read"):
        evaluate(config, encoders(config), gone, tmp_path)


def test_spread() -> None:
    assert spread(range(10), 3) == [0, 4, 9]
    assert spread(range(2), 5) == [0, 1]
    assert spread([], 5) == []
