"""The built-in data set of moving shapes with four labelled semantics (section 5.5 of the paper).

Scenes (:mod:`~bodvcl.data.made.shape_scenes`) are drawn and stored as real H.264 files.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from bodvcl.config.schema import ShapesConfig
from bodvcl.data.made.rendered import Rendering, write_rendering
from bodvcl.data.made.scenery import sensor_noise
from bodvcl.data.made.shape_scenes import SEMANTICS, Scene, ground_truth, random_numbers

_RENDERER = 3  # part of the cache key: raise it when the same settings would give other frames
_SIDES = {"pentagon": 5, "triangle": 3, "square": 4}


def _background(scene: Scene) -> np.ndarray:
    """(frames, size, size) float32: the drifting texture, around 1, times the gain."""
    waves, axis = scene.background_texture, np.arange(scene.size)
    shift = np.exp(-1j * (scene.camera @ np.stack([waves.fx, waves.fy]))) * np.exp(1j * waves.phase)
    rows = np.exp(1j * axis[:, None] * waves.fy)
    columns = np.exp(1j * axis[None, :] * waves.fx[:, None])
    left = shift[:, None, :] * rows
    real = np.concatenate([left.real, -left.imag], axis=2).astype(np.float32)
    basis = np.concatenate([columns.real, columns.imag], axis=0).astype(np.float32)
    texture = 1 + np.float32(waves.amplitude) * (real @ basis)
    background: np.ndarray = texture * scene.gain.astype(np.float32)[:, None, None]
    return background


def shape_coordinates(scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates of every pixel relative to the shape, each (frames, size, size) float32 in pixels."""
    return turned_coordinates(scene.size, scene.centre, scene.angle)


def turned_coordinates(size: int, centre: np.ndarray, angle: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates of every pixel around a moving centre, turned: each (frames, size, size) float32 in pixels.

    Args:
        size: height and width of a frame in pixels.
        centre: (frames, 2), x and y in pixels.
        angle: (frames,), in radians.
    """
    axis = np.arange(size, dtype=np.float32)
    dx = axis[None, None, :] - centre[:, 0, None, None].astype(np.float32)
    dy = axis[None, :, None] - centre[:, 1, None, None].astype(np.float32)
    cos = np.cos(angle).astype(np.float32)[:, None, None]
    sin = np.sin(angle).astype(np.float32)[:, None, None]
    return cos * dx + sin * dy, cos * dy - sin * dx


def shape_coverage(scene: Scene, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Share of each pixel that the shape covers, in [0, 1].

    Args:
        scene: the video.
        u, v: coordinates relative to the shape, from :func:`shape_coordinates`.

    Returns:
        float32 with the shape of `u`.
    """
    return coverage(scene.labels["shape"], scene.radius, u, v)


def coverage(name: str, radius: float, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Share of each pixel that a shape covers, in [0, 1]: float32 with the shape of `u`.

    Args:
        name: "triangle", "circle", "square" or "pentagon".
        radius: radius of a disk with the same area, in pixels.
        u, v: coordinates relative to the shape, in pixels.
    """
    if name == "circle":
        distance = np.sqrt(u * u + v * v) - np.float32(radius)
    else:
        sides = _SIDES[name]
        apothem = radius * np.sqrt(np.pi / (sides * np.tan(np.pi / sides)))
        distance = np.full_like(u, -np.inf)
        for side in range(sides):
            normal = 2 * np.pi * side / sides
            np.maximum(
                distance, np.float32(np.cos(normal)) * u + np.float32(np.sin(normal)) * v, out=distance
            )
        distance -= np.float32(apothem)
    share: np.ndarray = np.clip(np.float32(0.5) - distance, 0, 1)
    return share


def render(config: ShapesConfig, split: str, index: int) -> tuple[np.ndarray, dict[str, str]]:
    """Draw one video.

    Returns:
        uint8 frames (frames, size, size, 3) RGB, and the labels.
    """
    scene = ground_truth(config, split, index)
    image = _background(scene)[..., None] * (255 * scene.background_colour).astype(np.float32)
    u, v = shape_coordinates(scene)
    alpha = shape_coverage(scene, u, v)
    where = np.nonzero(alpha)
    waves, u, v = scene.shape_texture, u[where], v[where]
    texture = np.ones_like(u)
    for fx, fy, phase in zip(waves.fx, waves.fy, waves.phase):
        texture += np.float32(waves.amplitude) * np.cos(
            np.float32(fx) * u + np.float32(fy) * v + np.float32(phase)
        )
    colour = texture[:, None] * (255 * scene.shape_colour).astype(np.float32)
    image[where] += alpha[where][:, None] * (colour - image[where])
    image += sensor_noise(image.shape, random_numbers(config, split, 2, index))
    return np.clip(image, 0, 255).astype(np.uint8), scene.labels


def rendering(config: ShapesConfig) -> Rendering:
    """The data set of these settings, to be written by :func:`bodvcl.data.made.rendered.write_rendering`."""
    return Rendering("shapes", config, _RENDERER, list(SEMANTICS), partial(render, config))


def prepare(config: ShapesConfig, *, workers: int | None = None, progress: bool = True) -> Path:
    """Render the data set unless the cache already holds it.

    Returns:
        `labels.csv`, with the columns path, split, background, shape, brightness, trajectory.

    Raises:
        DataError: the cache folder cannot be written.
    """
    return write_rendering(rendering(config), workers=workers, progress=progress)
