"""What the videos of moving shapes show: labels, and the exact state of every frame.

Static semantics: background colour and shape. Dynamic semantics: change of the background's brightness and
trajectory of the shape. Because of random starts, phases and speeds, a drifting camera, texture and sensor
noise, no single frame tells the dynamic labels. Differences between videos that belong to no semantic (tint,
texture, size) are faint, because contrastive learning would otherwise learn only these.
Every scene is a pure function of (configuration, split, index).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bodvcl.config.schema import ShapesConfig
from bodvcl.data.made.rendered import SPLITS, split_sizes
from bodvcl.data.made.scenery import TRAJECTORIES, Waves, random_waves, trajectory
from bodvcl.data.randomness import generator

SEMANTICS: dict[str, tuple[str, ...]] = {
    "background": ("blue", "green", "orange", "purple"),
    "shape": ("triangle", "circle", "square", "pentagon"),
    "brightness": ("brightening", "darkening", "pulsing", "steady"),
    "trajectory": TRAJECTORIES,
}
"""Class names of each semantic; a data set with n classes uses the first n of each."""

BASE_COLOUR = {
    "blue": (0.30, 0.45, 0.95),
    "green": (0.30, 0.80, 0.35),
    "orange": (0.95, 0.60, 0.25),
    "purple": (0.70, 0.35, 0.85),
}
_GAIN_LOW, _GAIN_HIGH = 0.45, 1.0


@dataclass(frozen=True)
class Scene:
    """The ground truth of one video: what is where in every frame.

    Positions are in pixels, x to the right and y down; the centre of the top left pixel is (0, 0).

    Attributes:
        size: height and width of a frame.
        labels: class name per semantic.
        centre: (frames, 2) float64, x and y of the centre of the shape.
        angle: (frames,) float64, orientation of the shape in radians.
        camera: (frames, 2) float64, displacement of the background since the first frame.
        gain: (frames,) float64 in (0, 1], brightness of the background.
        radius: radius of a disk with the same area as the shape, in pixels.
        background_colour, shape_colour: (3,) float64 RGB in [0, 1].
        background_texture, shape_texture: waves, in coordinates of the camera and of the shape.
    """

    size: int
    labels: dict[str, str]
    centre: np.ndarray
    angle: np.ndarray
    camera: np.ndarray
    gain: np.ndarray
    radius: float
    background_colour: np.ndarray
    shape_colour: np.ndarray
    background_texture: Waves
    shape_texture: Waves


def random_numbers(config: ShapesConfig, split: str, purpose: int, index: int) -> np.random.Generator:
    """The random numbers of one video for one purpose."""
    return generator(config.seed, 16 * (1 + SPLITS.index(split)) + purpose, 0, index)


def video_labels(config: ShapesConfig, split: str, index: int) -> dict[str, str]:
    """Class names of one video.

    Any `classes` consecutive videos contain every class of every semantic once. Any block of classes^4 videos
    (classes^3 with a correlation) contains every combination once.
    """
    classes = config.classes
    confounded = {"sc": ("trajectory", "background"), "dc": ("shape", "brightness")}
    copy, source = confounded.get(config.correlation, ("", "")) if split == "train" else ("", "")
    free = [name for name in SEMANTICS if name != copy]
    per_block = classes ** len(free)
    block, place = divmod(index, per_block)
    rng = random_numbers(config, split, 0, block)
    groups = rng.permutation(per_block // classes)
    shifts = rng.permuted(np.tile(np.arange(classes), (len(groups), 1)), axis=1)
    group, member = divmod(place, classes)
    digits = groups[group] // classes ** np.arange(len(free)) % classes
    chosen = dict(zip(free, (digits + shifts[group, member]) % classes))
    if copy:
        chosen[copy] = chosen[source]
    return {name: SEMANTICS[name][chosen[name]] for name in SEMANTICS}


def _brightness(kind: str, frames: int, rng: np.random.Generator) -> np.ndarray:
    """Gain of the background per frame; at any time it is uniform over its range, for every kind."""
    ramp = np.arange(frames) / rng.uniform(24, 36) + rng.random()
    pulse = np.arange(frames) / rng.uniform(16, 24) + rng.random()
    level = rng.random()
    share = {
        "brightening": ramp % 1,
        "darkening": -ramp % 1,
        "pulsing": np.abs(2 * (pulse % 1) - 1),
        "steady": np.full(frames, level),
    }[kind]
    return _GAIN_LOW + (_GAIN_HIGH - _GAIN_LOW) * share


def ground_truth(config: ShapesConfig, split: str, index: int) -> Scene:
    """The scene of one video: labels, and the exact state of every frame.

    Raises:
        ValueError: the split is unknown, or the index is outside of it.
    """
    sizes = split_sizes(config.train_videos, config.probe_videos)
    if split not in sizes or not 0 <= index < sizes[split]:
        raise ValueError(
            f"no video {index} in split {split!r}; expected one of {sizes} (split: number of videos)"
        )
    labels = video_labels(config, split, index)
    rng = random_numbers(config, split, 1, index)
    size, frames = config.size, config.frames
    time = np.arange(frames)
    wobble = 0.008 * size * np.sin(2 * np.pi * (time[:, None] / rng.uniform(20, 50, 2) + rng.random(2)))
    camera = time[:, None] * rng.uniform(-0.002, 0.002, 2) * size + wobble
    camera -= camera[0]
    middle = (size - 1) / 2 + rng.uniform(-0.08, 0.08, 2) * size
    path = trajectory(labels["trajectory"], frames, rng.uniform(0.14, 0.20) * size, rng)
    gain = _brightness(labels["brightness"], frames, rng)
    background = np.clip(np.asarray(BASE_COLOUR[labels["background"]]) + rng.normal(0, 0.01, 3), 0, 1)
    return Scene(
        size=size,
        labels=labels,
        centre=middle + path + camera,
        angle=rng.uniform(0, 2 * np.pi) + time * rng.uniform(-0.06, 0.06),
        camera=camera,
        gain=gain,
        radius=rng.uniform(0.19, 0.21) * size,
        background_colour=background,
        shape_colour=np.clip(0.9 + rng.normal(0, 0.02, 3), 0, 1),
        background_texture=random_waves(10, 0.1 * size, 0.5 * size, 0.02, rng),
        shape_texture=random_waves(3, 0.08 * size, 0.25 * size, 0.03, rng),
    )
