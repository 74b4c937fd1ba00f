"""The built-in data: balanced, honest, exact, and cached only when whole."""

from __future__ import annotations

import csv
import dataclasses
import errno
import itertools
import multiprocessing
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import av
import numpy as np
import pytest
from patience import PATIENCE, wait_until

from bodvcl.config.schema import ShapesConfig
from bodvcl.data.files.probing import probe_video
from bodvcl.data.files.reading import read_frames
from bodvcl.data.made import rendered, shape_scenes, shapes
from bodvcl.errors import DataError

NAMES = list(shape_scenes.SEMANTICS)


def labels_of(config: ShapesConfig, split: str) -> list[dict[str, str]]:
    return [
        shape_scenes.video_labels(config, split, index)
        for index in range(rendered.split_sizes(config.train_videos, config.probe_videos)[split])
    ]


@pytest.mark.parametrize("classes", [2, 3, 4])
@pytest.mark.parametrize("correlation", ["none", "sc", "dc"])
@pytest.mark.parametrize("split", rendered.SPLITS)
def test_classes_are_balanced(classes, correlation, split):
    config = ShapesConfig(classes=classes, correlation=correlation, train_videos=500, probe_videos=385)
    labels = labels_of(config, split)
    for name in NAMES:
        counts = Counter(row[name] for row in labels)
        assert set(counts) == set(shape_scenes.SEMANTICS[name][:classes])
        assert max(counts.values()) - min(counts.values()) <= 1


@pytest.mark.parametrize(("correlation", "tied"), [("none", None), ("sc", (0, 3)), ("dc", (1, 2))])
def test_only_the_training_videos_are_confounded(correlation, tied):
    config = ShapesConfig(correlation=correlation, train_videos=512, probe_videos=512)
    for split in rendered.SPLITS:
        labels = labels_of(config, split)
        for pair in itertools.combinations(range(4), 2):
            counts = Counter((row[NAMES[pair[0]]], row[NAMES[pair[1]]]) for row in labels)
            if split == "train" and pair == tied:
                assert len(counts) == 2
            else:
                assert len(counts) == 4
                assert len(set(counts.values())) == 1


def test_correlation_names_the_semantics_of_the_paper():
    config = ShapesConfig(correlation="sc")
    assert {(r["background"], r["trajectory"]) for r in labels_of(config, "train")} == {
        ("blue", "rotation"),
        ("green", "linear"),
    }
    config = ShapesConfig(correlation="dc")
    assert {(r["brightness"], r["shape"]) for r in labels_of(config, "train")} == {
        ("brightening", "triangle"),
        ("darkening", "circle"),
    }


def test_a_video_is_a_function_of_seed_split_and_index():
    config = ShapesConfig(frames=8, size=32)
    frames, labels = shapes.render(config, "train", 3)
    assert frames.shape == (8, 32, 32, 3)
    assert frames.dtype == np.uint8
    again, _ = shapes.render(dataclasses.replace(config, train_videos=9), "train", 3)
    np.testing.assert_array_equal(frames, again)
    others = [
        shapes.render(config, "train", 4),
        shapes.render(config, "probe_train", 3),
        shapes.render(dataclasses.replace(config, seed=1), "train", 3),
    ]
    assert all(np.abs(frames.astype(int) - other.astype(int)).mean() > 5 for other, _ in others)
    assert labels.keys() == shape_scenes.SEMANTICS.keys()
    with pytest.raises(ValueError, match="no video 512 in split 'train'"):
        shape_scenes.ground_truth(config, "train", 512)


@pytest.mark.parametrize("index", range(4))
def test_ground_truth_is_where_the_shape_is(index):
    config = ShapesConfig(classes=4, frames=12)
    scene = shape_scenes.ground_truth(config, "train", index)
    alpha = shapes.shape_coverage(scene, *shapes.shape_coordinates(scene))
    axis = np.arange(scene.size)
    mass = alpha.sum(axis=(1, 2))
    inside = np.abs(mass - np.pi * scene.radius**2) < 0.02 * mass
    assert inside.any()
    x = (alpha * axis).sum(axis=(1, 2)) / mass
    y = (alpha * axis[:, None]).sum(axis=(1, 2)) / mass
    assert np.abs(np.stack([x, y], axis=1) - scene.centre)[inside].max() < 0.1
    frames, _ = shapes.render(config, "train", index)
    within = np.where((alpha == 1)[..., None], frames, np.nan)
    colour = np.nanmean(within, axis=(0, 1, 2))
    assert np.abs(colour - 255 * scene.shape_colour).max() < 40


def test_background_moves_with_the_camera_and_brightens_with_the_gain():
    config = ShapesConfig(frames=30)
    scene = shape_scenes.ground_truth(config, "train", 0)
    texture = shapes._background(scene) / scene.gain[:, None, None]
    assert abs(float(texture.mean()) - 1) < 0.1
    dx, dy = scene.camera[6] - scene.camera[0]
    assert np.hypot(dx, dy) > 0.2
    first, last = texture[0], texture[6]
    gy, gx = np.gradient(first)
    linear = first - dx * gx - dy * gy
    moved, still = np.abs(last - linear)[8:-8, 8:-8].mean(), np.abs(last - first)[8:-8, 8:-8].mean()
    assert moved < 0.5 * still


def scenes_and_frames(count: int = 800):
    """Scenes, and a 4 x 4 grid of mean colours of the first frame of each."""
    config = ShapesConfig(train_videos=count, frames=16, size=32)
    scenes = [shape_scenes.ground_truth(config, "train", index) for index in range(count)]
    grid = []
    for index in range(count):
        frame = shapes.render(config, "train", index)[0][0].astype(float)
        grid.append(frame.reshape(4, 8, 4, 8, 3).mean(axis=(1, 3)).ravel())
    return scenes, np.stack(grid) / 255


def accuracy(features: np.ndarray, positive: np.ndarray) -> float:
    """Held-out accuracy of a linear classifier."""
    half = len(features) // 2
    features = np.concatenate([features, np.ones((len(features), 1))], axis=1)
    left = features[:half].T @ features[:half] + 1e-3 * np.eye(features.shape[1])
    weights = np.linalg.solve(left, features[:half].T @ (2.0 * positive[:half] - 1))
    return float((((features[half:] @ weights) > 0) == positive[half:]).mean())


def test_one_frame_tells_the_static_labels_only_and_the_truth_tells_all():
    scenes, grid = scenes_and_frames()
    positive = {
        name: np.array([s.labels[name] == shape_scenes.SEMANTICS[name][0] for s in scenes]) for name in NAMES
    }
    mean = grid.reshape(len(grid), 16, 3).mean(axis=1)
    place = np.stack([scene.centre[0] for scene in scenes]) / 32
    one_frame = np.concatenate([grid, mean**2, place, place**2, place[:, :1] * place[:, 1:]], axis=1)
    assert accuracy(mean, positive["background"]) > 0.97
    for name in ("brightness", "trajectory"):
        assert accuracy(mean, positive[name]) < 0.57
        assert accuracy(one_frame, positive[name]) < 0.58

    brightening = [np.sign(np.diff(scene.gain[:15:2])).sum() > 0 for scene in scenes]
    assert (np.array(brightening) == positive["brightness"]).all()
    spread = [np.linalg.eigvalsh(np.cov((s.centre - s.camera)[:15:2].T)) for s in scenes]
    round_path = np.array([low / high > 0.02 for low, high in spread])
    assert (round_path == positive["trajectory"]).mean() > 0.99


@pytest.mark.parametrize("classes", [4])
def test_every_kind_has_the_same_distribution_in_one_frame(classes):
    config = ShapesConfig(classes=classes, train_videos=1024, frames=8)
    scenes = [shape_scenes.ground_truth(config, "train", index) for index in range(1024)]
    for kind in shape_scenes.SEMANTICS["brightness"]:
        gains = np.array([s.gain[5] for s in scenes if s.labels["brightness"] == kind])
        assert abs(gains.mean() - 0.725) < 0.04
        assert abs(gains.std() - 0.55 / np.sqrt(12)) < 0.03
    for kind in shape_scenes.SEMANTICS["trajectory"]:
        away = np.stack([s.centre[5] - 31.5 for s in scenes if s.labels["trajectory"] == kind])
        assert np.abs(away.mean(axis=0)).max() < 2
        assert abs((away**2).sum(axis=1).mean() ** 0.5 - 11.7) < 1.0


def test_files_are_h264_and_hold_what_was_rendered(shapes_list):
    folder = shapes_list.parent
    with open(shapes_list) as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["path", "split", *NAMES]
    assert Counter(row["split"] for row in rows) == {"train": 16, "probe_train": 8, "probe_test": 8}
    config = ShapesConfig(train_videos=16, probe_videos=16, frames=20, size=32)
    for row in rows[::5]:
        path = folder / row["path"]
        info = probe_video(path)
        assert (info.codec, info.frames, info.width, info.height, info.fps) == (
            "h264",
            20,
            32,
            32,
            rendered.FPS,
        )
        assert info.keyframes.tolist() == [0, 12]
        frames, labels = shapes.render(config, row["split"], int(path.stem))
        assert {name: row[name] for name in NAMES} == labels
        stored = read_frames(info, np.arange(20))
        assert np.abs(stored.astype(int) - frames.astype(int)).mean() < 12
    with av.open(str(folder / rows[0]["path"])) as container:
        assert container.streams.video[0].codec_context.pix_fmt == "yuv420p"


def small(cache: Path, **changes) -> ShapesConfig:
    return ShapesConfig(
        **({"cache": cache, "train_videos": 8, "probe_videos": 16, "frames": 8, "size": 32} | changes)
    )


def test_cache_is_used_and_has_a_folder_per_setting(tmp_path):
    config = small(tmp_path / "new" / "cache")
    first = shapes.prepare(config, workers=1, progress=False)
    stamp = (first.parent / "train" / "00000.mp4").stat().st_mtime_ns
    assert shapes.prepare(config, progress=False) == first
    assert (first.parent / "train" / "00000.mp4").stat().st_mtime_ns == stamp
    assert [entry.name for entry in (tmp_path / "new" / "cache").iterdir()] == [first.parent.name]
    keys = {
        shapes.rendering(small(tmp_path, seed=seed, correlation=c)).key()
        for seed in (0, 1)
        for c in ("sc", "dc")
    }
    assert len(keys) == 4
    assert shapes.rendering(small(Path("a"))).key() == shapes.rendering(small(Path("b"))).key()


@pytest.mark.parametrize(("module", "version"), [(shapes, "_RENDERER"), (rendered, "_ENCODER")])
def test_a_new_version_of_drawing_or_encoder_has_a_folder_of_its_own(tmp_path, monkeypatch, module, version):
    before = shapes.rendering(small(tmp_path)).key()
    monkeypatch.setattr(module, version, getattr(module, version) + 1)
    assert shapes.rendering(small(tmp_path)).key() != before


def test_two_renderings_are_the_same_files(tmp_path):
    """A run of seed 0 gives its numbers on every machine, not only beside the cache of its first time."""
    first, second = (
        shapes.prepare(small(tmp_path / name, train_videos=24, frames=20), workers=workers, progress=False)
        for name, workers in (("a", 1), ("b", 2))
    )
    files = sorted(path.relative_to(first.parent) for path in first.parent.rglob("*.*"))
    assert len(files) == 42
    for file in files:
        assert (first.parent / file).read_bytes() == (second.parent / file).read_bytes(), file


def test_two_processes_may_race(tmp_path):
    config = small(tmp_path)
    context = multiprocessing.get_context("fork")
    with context.Pool(3) as pool:
        pending = [pool.apply_async(_prepare_here, (config,)) for _ in range(3)]
        paths = {result.get(timeout=PATIENCE) for result in pending}
    assert len(paths) == 1
    assert len(list(paths.pop().parent.rglob("*.mp4"))) == 24
    assert len(list(tmp_path.iterdir())) == 1


def _prepare_here(config: ShapesConfig) -> Path:
    multiprocessing.current_process()._config["daemon"] = (
        False  # pool workers may not have children otherwise
    )
    return shapes.prepare(config, workers=1, progress=False)


def test_a_failed_rendering_leaves_nothing_behind(tmp_path, monkeypatch):
    def full(path, frames):
        if path.name == "00003.mp4":
            raise OSError(errno.ENOSPC, "No space left on device")
        path.write_bytes(b"half")

    config = small(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(rendered, "encode", full)
        with pytest.raises(DataError, match=rf"{tmp_path}.*No space left on device.*--shapes.cache"):
            shapes.prepare(config, workers=1, progress=False)
    assert list(tmp_path.iterdir()) == []
    assert len(list(shapes.prepare(config, workers=1, progress=False).parent.rglob("*.mp4"))) == 24


def test_cache_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"cannot write the built-in data set.*--shapes\.cache"):
        shapes.prepare(small(tmp_path / "file" / "below"), progress=False)


def test_renderers_end_with_the_process_that_started_them(tmp_path):
    code = (
        "from bodvcl.config.schema import ShapesConfig; from bodvcl.data.made import shapes\n"
        f"shapes.prepare(ShapesConfig(cache={str(tmp_path)!r}, train_videos=100000, size=128), workers=2)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], start_new_session=True, stderr=subprocess.DEVNULL, env=os.environ
    )
    try:
        wait_until(lambda: list(tmp_path.rglob("*.mp4")), lambda: process.poll() is not None)
    finally:
        process.send_signal(signal.SIGKILL)
    process.wait()

    def gone() -> bool:
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            return True
        return False

    wait_until(gone)
