"""The synthetic data of section 5.5 (Figure 5): first frames and exact motion fields, with four known
semantics.

Static: background colour (blue or green; simple) and shape (pentagon or circle; complex). Dynamic: change
of the background's brightness (simple) and trajectory of the shape (rotation or linear; complex). Two clips
of one video share its four classes and nothing else. The phase of both motions differs from clip to clip.
The heading of a path is a multiple of a quarter turn, and clips are rotated by random quarter turns. Anything
else that could identify a video (tint, texture, speed, camera) is left out. So each class is worth log 2 to
the loss, and the study shows how correlated classes affect each other, not how a shortcut does.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from bodvcl.config.schema import ShapesConfig
from bodvcl.data.made import shapes
from bodvcl.data.made.shape_scenes import BASE_COLOUR, Scene, ground_truth

SEMANTICS = {
    "background": ("blue", "green"),
    "shape": ("pentagon", "circle"),
    "brightness": ("brightening", "darkening"),
    "trajectory": ("rotation", "linear"),
}
"""Class names of each semantic, simple and complex static, simple and complex dynamic."""

Correlation = Literal["none", "sc", "dc"]

PERIOD = 20.0
"""Frames per revolution, or per path there and back."""
RAMP = 30.0
"""Frames from the darkest to the brightest background."""
MOTION_STEP = 2
"""Pixels between two samples of the motion field."""


@dataclass(frozen=True)
class Videos:
    """Videos held in memory.

    Attributes:
        frames: (N, F, S, S, 3) uint8 RGB.
        motion: (N, F, 3, S / 2, S / 2) float16: what happens from each frame to the next, in pixels to the
            right, pixels down, and change of the logarithm of the brightness times 10.
        labels: (N, 4) integers, class per semantic in the order of :data:`SEMANTICS`.
    """

    frames: Tensor
    motion: Tensor
    labels: np.ndarray


def make_videos(
    count: int, correlation: Correlation, *, seed: int, frames: int = 40, size: int = 48
) -> Videos:
    """Draw videos.

    Args:
        count: number of videos.
        correlation: sc: background colour decides the trajectory. dc: the brightness change decides the
            shape. none: all four independent.
        seed: seed of labels and scenes.
        frames: frames per video.
        size: height and width in pixels, even.
    """
    config = ShapesConfig(
        train_videos=max(count, 8), frames=frames, size=size, correlation=correlation, seed=seed
    )
    images, motions, labels = [], [], []
    for index in range(count):
        scene = _scene(config, index)
        coverage = shapes.shape_coverage(scene, *shapes.shape_coordinates(scene))
        images.append(_draw(scene, coverage))
        motions.append(_motion(scene, coverage))
        labels.append([names.index(scene.labels[key]) for key, names in SEMANTICS.items()])
    return Videos(torch.from_numpy(np.stack(images)), torch.from_numpy(np.stack(motions)), np.array(labels))


def _scene(config: ShapesConfig, index: int) -> Scene:
    base = ground_truth(config, "train", index)
    rng = np.random.default_rng([config.seed, index])
    labels = {**base.labels, "shape": "circle" if base.labels["shape"] == "circle" else "pentagon"}
    time, size = np.arange(config.frames), config.size
    phase = 2 * np.pi * (time / PERIOD * rng.choice([-1, 1]) + rng.random())
    along, across = {
        "rotation": (np.cos(phase), np.sin(phase)),
        "linear": (np.sqrt(2) * np.cos(phase), np.zeros(config.frames)),
    }[labels["trajectory"]]
    heading = np.pi / 2 * rng.integers(4)
    path = np.stack(
        [
            np.cos(heading) * along - np.sin(heading) * across,
            np.sin(heading) * along + np.cos(heading) * across,
        ],
        axis=1,
    )
    share = (time / RAMP * (1 if labels["brightness"] == "brightening" else -1) + rng.random()) % 1
    return replace(
        base,
        labels=labels,
        centre=(size - 1) / 2 + 0.17 * size * path,
        angle=np.zeros(config.frames),
        camera=np.zeros((config.frames, 2)),
        gain=0.45 + 0.55 * share,
        radius=0.2 * size,
        background_colour=np.asarray(BASE_COLOUR[labels["background"]]),
        shape_colour=np.full(3, 0.9),
        background_texture=replace(base.background_texture, amplitude=0.0),
        shape_texture=replace(base.shape_texture, amplitude=0.0),
    )


def _draw(scene: Scene, coverage: np.ndarray) -> np.ndarray:
    background = 255 * scene.gain[:, None, None, None] * scene.background_colour
    alpha = coverage[..., None]
    pixels = background + alpha * (255 * scene.shape_colour - background)
    return np.asarray(pixels, dtype=np.uint8)


def _motion(scene: Scene, coverage: np.ndarray) -> np.ndarray:
    """The last frame repeats the motion of the one before it."""
    alpha = coverage[:, ::MOTION_STEP, ::MOTION_STEP]
    velocity = np.diff(scene.centre, axis=0)
    velocity = np.concatenate([velocity, velocity[-1:]])[:, :, None, None]
    brightening = np.diff(np.log(scene.gain))
    brightening = np.clip(np.concatenate([brightening, brightening[-1:]]), -0.1, 0.1)[:, None, None]
    flow = alpha[:, None] * velocity
    return np.concatenate([flow, 10 * ((1 - alpha) * brightening)[:, None]], axis=1).astype(np.float16)
