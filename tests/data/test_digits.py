"""Moving digits: balanced, disjoint handwriting, the paths of the labels, the same pixels every time."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from bodvcl.config.schema import ClipConfig, DigitsConfig
from bodvcl.data.files.scan import scan
from bodvcl.data.made import digits
from bodvcl.data.made.rendered import SPLITS
from bodvcl.data.made.scenery import TRAJECTORIES
from bodvcl.data.sets import BuiltInSettings, built_in


@pytest.mark.parametrize("classes", [2, 4])
def test_labels_are_balanced_and_correlated_only_in_training(classes):
    config = DigitsConfig(classes=classes, correlation="full")
    train = Counter(digits.video_labels(config, "train", i) for i in range(8 * classes))
    assert train == {(k, k): 8 for k in range(classes)}
    probe = Counter(digits.video_labels(config, "probe_test", i) for i in range(2 * classes**2))
    assert probe == {(a, b): 2 for a in range(classes) for b in range(classes)}
    free = DigitsConfig(classes=classes)
    assert len({digits.video_labels(free, "train", i) for i in range(classes**2)}) == classes**2


def test_no_split_shows_another_split_s_handwriting():
    seen = {split: {image.tobytes() for image in digits.handwriting(split, 3)} for split in SPLITS}
    assert all(len(images) > 30 for images in seen.values())
    assert not seen["train"] & seen["probe_train"]
    assert not seen["train"] & seen["probe_test"]
    assert not seen["probe_train"] & seen["probe_test"]


def test_the_digit_moves_on_its_path():
    config = DigitsConfig(frames=60, size=64, classes=4)
    for index, kind in ((0, "rotation"), (4, "linear"), (12, "jumping")):
        video, labels = digits.render(config, "train", index)
        assert labels == {"digit": "0", "trajectory": kind}
        ink = np.clip(video.mean(-1) - 130, 0, None)
        axis = np.arange(64)
        total = ink.sum((1, 2))
        centre = np.stack([ink.sum(1) @ axis / total, ink.sum(2) @ axis / total], 1)
        spread = np.linalg.svd(centre - centre.mean(0), compute_uv=False)
        step = np.linalg.norm(np.diff(centre, axis=0), axis=1)
        assert spread[0] > 20
        if kind == "rotation":
            assert spread[1] > 0.6 * spread[0]
        if kind == "linear":
            assert spread[1] < 0.15 * spread[0]
        if kind == "jumping":
            assert np.median(step) < 0.5 < 5 < step.max()


def test_pixels_are_a_function_of_the_settings():
    config = DigitsConfig(frames=8, size=32)
    a, b = (digits.render(config, "probe_train", 5)[0] for _ in range(2))
    assert a.dtype == np.uint8
    assert a.shape == (8, 32, 32, 3)
    assert np.array_equal(a, b)
    assert not np.array_equal(a, digits.render(DigitsConfig(frames=8, size=32, seed=1), "probe_train", 5)[0])
    keys = {
        digits.rendering(DigitsConfig(correlation=c, seed=s)).key() for c in ("none", "full") for s in (0, 1)
    }
    assert len(keys) == 4


def test_files_and_labels_are_written_and_found(tmp_path):
    settings = BuiltInSettings(
        digits=DigitsConfig(cache=tmp_path, train_videos=8, probe_videos=16, frames=16, size=32)
    )
    found = scan("digits", clip=ClipConfig(), settings=settings, workers=1, progress=False)
    assert Counter(video.split for video in found.videos) == {"train": 8, "probe_train": 8, "probe_test": 8}
    assert set(found.videos[0].labels) == built_in("digits").kinds.keys()
    assert {video.labels["trajectory"] for video in found.videos} <= set(TRAJECTORIES)
