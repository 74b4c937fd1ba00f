"""Parts of a rendered video: paths, textures, sensor noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

TRAJECTORIES = ("rotation", "linear", "eight", "jumping")
"""Names of the paths; a data set with n classes uses the first n."""


@dataclass(frozen=True)
class Waves:
    """A texture as a function of position: sum_k amplitude cos(x fx_k + y fy_k + phase_k)."""

    fx: np.ndarray
    fy: np.ndarray
    phase: np.ndarray
    amplitude: float


def trajectory(kind: str, frames: int, radius: float, rng: np.random.Generator) -> np.ndarray:
    """A path around the origin: (frames, 2) in pixels. Every kind has a mean squared distance of radius^2."""
    phase = 2 * np.pi * (np.arange(frames) / rng.uniform(16, 26) * rng.choice([-1, 1]) + rng.random())
    heading = rng.uniform(0, 2 * np.pi)
    hold, offset = rng.uniform(5, 7), rng.random()
    corners = np.cumsum(rng.uniform(np.pi / 2, 3 * np.pi / 2, size=frames // 5 + 2))
    corner = corners[(np.arange(frames) / hold + offset).astype(int)]
    along, across = {
        "rotation": (np.cos(phase), np.sin(phase)),
        "linear": (np.sqrt(2) * np.cos(phase), np.zeros(frames)),
        "eight": (1.2 * np.cos(phase), np.sqrt(0.56) * np.sin(2 * phase)),
        "jumping": (np.cos(corner), np.sin(corner)),
    }[kind]
    x = np.cos(heading) * along - np.sin(heading) * across
    y = np.sin(heading) * along + np.cos(heading) * across
    return radius * np.stack([x, y], axis=1)


def moving_centre(
    kind: str, frames: int, size: int, radius: tuple[float, float], rng: np.random.Generator
) -> np.ndarray:
    """A path around a place near the middle of the picture: (frames, 2), x and y in pixels.

    Args:
        kind: one of `TRAJECTORIES`.
        frames: number of frames.
        size: height and width of the picture in pixels.
        radius: smallest and largest radius of the path, as shares of the picture.
        rng: random numbers.
    """
    middle = (size - 1) / 2 + rng.uniform(-0.06, 0.06, 2) * size
    path: np.ndarray = middle + trajectory(kind, frames, rng.uniform(*radius) * size, rng)
    return path


def random_waves(
    count: int, shortest: float, longest: float, spread: float, rng: np.random.Generator
) -> Waves:
    """`count` waves with random directions and phases, wavelengths log-uniform in [shortest, longest]
    pixels, and standard deviation `spread` together."""
    frequency = 2 * np.pi / np.exp(rng.uniform(np.log(shortest), np.log(longest), count))
    direction = rng.uniform(0, np.pi, count)
    return Waves(
        fx=frequency * np.cos(direction),
        fy=frequency * np.sin(direction),
        phase=rng.uniform(0, 2 * np.pi, count),
        amplitude=spread * np.sqrt(2 / count),
    )


def wave_pictures(waves: Waves, size: int, camera: np.ndarray) -> np.ndarray:
    """The texture as pictures, one for each place of the camera: (frames, size, size).

    Args:
        waves: the texture.
        size: height and width in pixels.
        camera: (frames, 2), x and y of the first pixel in the coordinates of the texture.
    """
    axis = np.arange(size)
    x, y = (axis + camera[:, k, None] for k in (0, 1))
    phase = x[:, None, :, None] * waves.fx + y[:, :, None, None] * waves.fy + waves.phase
    pictures: np.ndarray = waves.amplitude * np.cos(phase).sum(-1)
    return pictures


def sensor_noise(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Noise of 4 grey levels standard deviation, as the sum of two uniform parts, plus 0.5 for rounding."""
    table = ((np.arange(256) - 127.5) / 255 * 4 * np.sqrt(6) + 0.25).astype(np.float32)
    count = int(np.prod(shape))
    bytes_ = np.frombuffer(rng.bytes(2 * count), np.uint8).reshape(2, *shape)
    noise: np.ndarray = table[bytes_[0]] + table[bytes_[1]]
    return noise
