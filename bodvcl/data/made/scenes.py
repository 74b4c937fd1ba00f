"""Moving figures on scenes of their own: the built-in data set that shows what a scene does to learning.

Both clips of a video share its scene, and no other video has it. A contrastive loss can then tell the videos
apart by their scenes alone, and needs neither of the other semantics: the figure (static) and its trajectory
(dynamic). Nothing is correlated with anything; `scenes.scene` says how much of the scene is seen. Every video
is a pure function of (configuration, split, index) and is stored as a real H.264 file.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from bodvcl.config.schema import ScenesConfig
from bodvcl.data.made.backdrops import TINTS, backdrop
from bodvcl.data.made.digits import moving_digit
from bodvcl.data.made.rendered import SPLITS, Rendering, write_rendering
from bodvcl.data.made.scenery import TRAJECTORIES, moving_centre, random_waves, sensor_noise, wave_pictures
from bodvcl.data.made.shape_scenes import SEMANTICS
from bodvcl.data.made.shapes import coverage, turned_coordinates
from bodvcl.data.randomness import generator

_RENDERER = 1  # part of the cache key: raise it when the same settings would give other frames
_BRIGHTEST = 0.7  # of a scene, so that the figure stays visible


def video_labels(config: ScenesConfig, split: str, index: int) -> dict[str, str]:
    """Class names of one video. Any classes^3 consecutive videos have every combination once."""
    classes = config.classes
    figure, path, tint = index % classes, index // classes % classes, index // classes**2 % classes
    names = {"digit": str(figure), "shape": SEMANTICS["shape"][figure]}
    return {
        "scene": TINTS[tint],
        config.figure: names[config.figure],
        "trajectory": TRAJECTORIES[path],
    }


def render(config: ScenesConfig, split: str, index: int) -> tuple[np.ndarray, dict[str, str]]:
    """Draw one video.

    Returns:
        uint8 frames (frames, size, size, 3) RGB, and the labels.
    """
    labels = video_labels(config, split, index)
    rng, of_scene = (generator(config.seed, first + SPLITS.index(split), 0, index) for first in (192, 224))
    size, frames, share = config.size, config.frames, config.scene
    figure = _moving_figure(config, split, labels, rng)[..., None]
    waves = random_waves(8, 0.1 * size, 0.5 * size, 0.03, rng)
    scene = 0.35 + wave_pictures(waves, size, np.zeros((1, 2)))[..., None]
    if share > 0:
        own = backdrop(labels["scene"], config.texture, config.camera == "moving", frames, size, of_scene)
        scene = np.clip((1 - share) * scene + share * own, 0, _BRIGHTEST)
    video = 255 * (scene + figure * (0.9 + 0.05 * share - scene)) * np.ones(3)
    video = video + sensor_noise(video.shape, rng)
    return np.clip(video, 0, 255).astype(np.uint8), labels


def _moving_figure(
    config: ScenesConfig, split: str, labels: dict[str, str], rng: np.random.Generator
) -> np.ndarray:
    """How much of each pixel the figure covers, in [0, 1]: (frames, size, size)."""
    size, frames = config.size, config.frames
    if config.figure == "digit":
        return moving_digit(split, int(labels["digit"]), labels["trajectory"], frames, size, rng)
    centre = moving_centre(labels["trajectory"], frames, size, (0.15, 0.20), rng)
    angle = np.full(frames, rng.uniform(0, 2 * np.pi))
    radius = rng.uniform(0.16, 0.19) * size
    return coverage(labels["shape"], radius, *turned_coordinates(size, centre, angle))


def rendering(config: ScenesConfig) -> Rendering:
    """The data set of these settings, to be written by :func:`bodvcl.data.made.rendered.write_rendering`."""
    columns = ["scene", config.figure, "trajectory"]
    return Rendering("scenes", config, _RENDERER, columns, partial(render, config))


def prepare(config: ScenesConfig, *, workers: int | None = None, progress: bool = True) -> Path:
    """Render the data set unless the cache already holds it.

    Returns:
        `labels.csv`, with the columns path, split, scene, digit or shape, trajectory.

    Raises:
        DataError: the cache folder cannot be written.
    """
    return write_rendering(rendering(config), workers=workers, progress=progress)
