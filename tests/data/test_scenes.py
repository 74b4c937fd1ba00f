"""Moving figures on scenes of their own: independent labels, scenes that no other video has, the knob."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from bodvcl.config.schema import ClipConfig, ScenesConfig
from bodvcl.data.files.scan import scan
from bodvcl.data.made import scenes
from bodvcl.data.sets import BuiltInSettings

SMALL = ScenesConfig(frames=16, size=32)


def background(config: ScenesConfig, split: str = "train", index: int = 0) -> np.ndarray:
    """Darkest value of every pixel and colour over time: the figure is brighter than any scene."""
    return scenes.render(config, split, index)[0].min(0).astype(float)


@pytest.mark.parametrize("figure", ["digit", "shape"])
@pytest.mark.parametrize("classes", [2, 4])
def test_all_semantics_are_independent_in_every_split(figure, classes):
    config = ScenesConfig(classes=classes, figure=figure)
    for split in ("train", "probe_train", "probe_test"):
        seen = Counter(tuple(scenes.video_labels(config, split, i).values()) for i in range(2 * classes**3))
        assert set(seen.values()) == {2}
        assert len(seen) == classes**3
    assert list(scenes.video_labels(config, "train", 0)) == ["scene", figure, "trajectory"]


@pytest.mark.parametrize("texture", ["waves", "photographs"])
def test_every_video_has_a_scene_of_its_own_and_keeps_it(texture):
    config = replace(SMALL, texture=texture)
    frames, _ = scenes.render(config, "train", 3)
    corner = frames[:, :6, :6].astype(float).mean((1, 2))  # the figure does not reach it
    assert np.ptp(corner, axis=0).max() < 4, "a still camera, but the scene changes"
    pictures = [background(config, split, i) for split in ("train", "probe_test") for i in range(0, 64, 16)]
    for i, a in enumerate(pictures):
        for b in pictures[:i]:
            assert np.abs(a - b).mean() > 10


def test_the_knob_goes_from_the_same_paper_to_a_scene():
    def apart(share: float) -> float:
        first, second = (background(replace(SMALL, scene=share), index=i) for i in (0, 16))
        return float(np.abs(first - second).mean())

    distances = [apart(share) for share in (0.0, 0.25, 0.5, 1.0)]
    assert distances == sorted(distances)
    assert distances[0] < 0.35 * distances[-1]
    gray = scenes.render(replace(SMALL, scene=0.0), "train", 0)[0].astype(float)
    assert np.abs(gray.mean((0, 1, 2)) - gray.mean()).max() < 0.5, "without a scene there is no colour"


@pytest.mark.parametrize("texture", ["waves", "photographs"])
def test_a_moving_camera_shifts_the_scene(texture):
    config = ScenesConfig(frames=24, size=64, texture=texture, camera="moving")
    corners = scenes.render(config, "train", 1)[0][:, :10, :10].astype(float)
    still = scenes.render(replace(config, camera="still"), "train", 1)[0][:, :10, :10].astype(float)
    assert np.abs(corners[-1] - corners[0]).mean() > 3 * np.abs(still[-1] - still[0]).mean()
    assert np.abs(corners[1] - corners[0]).mean() < np.abs(corners[-1] - corners[0]).mean(), "jumps"


@pytest.mark.parametrize("tint", range(4))
def test_the_tint_is_that_of_the_label(tint):
    index = 16 * tint
    name = scenes.video_labels(SMALL, "train", index)["scene"]
    red, green, blue = np.mean([background(SMALL, index=index + 64 * k).mean((0, 1)) for k in range(6)], 0)
    expected = {
        "red": red > max(green, blue),
        "green": green > blue and green > red,
        "cyan": red < min(green, blue),
        "violet": blue > green and blue > red,
    }
    assert expected[name], (name, red, green, blue)


def test_pixels_are_a_function_of_the_settings():
    a, b = (scenes.render(SMALL, "probe_train", 5)[0] for _ in range(2))
    assert a.dtype == np.uint8
    assert a.shape == (16, 32, 32, 3)
    assert np.array_equal(a, b)
    changes = (
        {"seed": 1},
        {"scene": 0.5},
        {"camera": "moving"},
        {"texture": "photographs"},
        {"figure": "shape"},
    )
    others = [replace(SMALL, **change) for change in changes]
    for other in others:
        assert not np.array_equal(a, scenes.render(other, "probe_train", 5)[0]), other
    assert len({scenes.rendering(config).key() for config in (SMALL, *others)}) == 1 + len(others)


def test_files_and_labels_are_written_and_found(tmp_path):
    config = replace(SMALL, cache=tmp_path, train_videos=8, probe_videos=16, figure="shape")
    found = scan(
        "scenes", clip=ClipConfig(), settings=BuiltInSettings(scenes=config), workers=1, progress=False
    )
    assert Counter(video.split for video in found.videos) == {"train": 8, "probe_train": 8, "probe_test": 8}
    assert set(found.videos[0].labels) == {"scene", "shape", "trajectory"}
