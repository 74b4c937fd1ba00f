"""Scenes that no other video has: a tint of one of four kinds, and a texture, still or drifting."""

from __future__ import annotations

from functools import cache

import numpy as np

from bodvcl.data.made.scenery import random_waves, wave_pictures

TINTS = ("red", "green", "cyan", "violet")
"""Names of the tints: a quarter of the colour circle each. A data set with n classes uses the first n."""

_CONTRAST = 0.1  # standard deviation of a texture, in each colour
_FASTEST, _SLOWEST = 0.02, 0.005  # drift of a moving camera per frame, as a share of the picture


def backdrop(
    tint: str, texture: str, moving: bool, frames: int, size: int, rng: np.random.Generator
) -> np.ndarray:
    """The background of one video: float64 (frames, size, size, 3), or (1, size, size, 3) if it is still.

    RGB around [0, 1], to be clipped by the caller.

    Args:
        tint: one of `TINTS`.
        texture: "waves" or "photographs".
        moving: it drifts at a constant speed.
        frames: number of frames.
        size: height and width in pixels.
        rng: random numbers of this scene.
    """
    hue = (TINTS.index(tint) + rng.uniform(-0.4, 0.4)) * np.pi / 2
    level, chroma = rng.uniform(0.22, 0.43), rng.uniform(0.06, 0.14)
    colour = level + chroma * np.cos(hue - np.arange(3) * 2 * np.pi / 3)
    heading, speed = rng.uniform(0, 2 * np.pi), rng.uniform(_SLOWEST, _FASTEST) * size
    velocity = speed * np.array([np.cos(heading), np.sin(heading)])
    camera = np.arange(frames)[:, None] * velocity if moving else np.zeros((1, 2))
    draw = _waves if texture == "waves" else _cut
    picture: np.ndarray = colour + draw(camera, size, rng)
    return picture


def _waves(camera: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """Random waves in each of three colours: (frames, size, size, 3) around 0."""
    colours = [random_waves(8, 0.15 * size, 1.0 * size, _CONTRAST, rng) for _ in range(3)]
    return np.stack([wave_pictures(waves, size, camera) for waves in colours], axis=-1)


@cache
def _photographs() -> tuple[np.ndarray, ...]:
    """The photographs that come with scikit-learn (CC BY 2.0): float32 (height, width, 3) in [0, 1]."""
    from sklearn.datasets import load_sample_images

    return tuple(image.astype(np.float32) / 255 for image in load_sample_images().images)


def _cut(camera: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """A random square of a photograph, perhaps mirrored, its colours mixed anew: (frames, size, size, 3)
    around 0."""
    photographs = _photographs()
    photograph = photographs[rng.integers(len(photographs))]
    if rng.random() < 0.5:
        photograph = photograph[:, ::-1]
    reach = np.ptp(camera, axis=0)
    side = rng.uniform(0.3, 0.9) * min(photograph.shape[:2])
    pixels = side / (size + reach.max())
    room = np.array([photograph.shape[1], photograph.shape[0]]) - 1 - pixels * (size - 1 + reach)
    corner = rng.random(2) * room - pixels * camera.min(axis=0)
    cut = np.stack([_sampled(photograph, corner + pixels * shift, pixels, size) for shift in camera])
    mixed: np.ndarray = (cut - cut.mean((0, 1, 2))) @ np.linalg.qr(rng.normal(size=(3, 3)))[0]
    mixed *= _CONTRAST / max(mixed.std(), 1e-3)
    return mixed


def _sampled(photograph: np.ndarray, corner: np.ndarray, pixels: float, size: int) -> np.ndarray:
    """A square of a photograph in another resolution: each pixel is the mean of a grid of points in it.

    Args:
        photograph: (height, width, 3).
        corner: x and y of the square in pixels of the photograph.
        pixels: pixels of the photograph per pixel of the result.
        size: height and width of the result in pixels.
    """
    many = int(np.ceil(pixels))
    places = (np.arange(size * many) + 0.5) / many - 0.5
    height, width = photograph.shape[:2]
    x = np.clip(np.round(corner[0] + pixels * places).astype(int), 0, width - 1)
    y = np.clip(np.round(corner[1] + pixels * places).astype(int), 0, height - 1)
    points = photograph[y[:, None], x[None, :]]
    means: np.ndarray = points.reshape(size, many, size, many, 3).mean((1, 3))
    return means
