"""Moving digits: scikit-learn's handwritten digits on labelled paths.

Static semantic: the digit. Dynamic semantic: the kind of path. Training, probe and test videos show different
handwriting. With ``correlation: full`` the digit determines the path in the training videos, so either one
is enough to tell the classes apart; in probe videos they are always independent. Every video is a pure
function of (configuration, split, index) and is stored as a real H.264 file.
"""

from __future__ import annotations

from functools import cache, partial
from pathlib import Path

import numpy as np

from bodvcl.config.schema import DigitsConfig
from bodvcl.data.made.rendered import SPLITS, Rendering, write_rendering
from bodvcl.data.made.scenery import TRAJECTORIES, moving_centre, random_waves, sensor_noise
from bodvcl.data.randomness import generator

_RENDERER = 1  # part of the cache key: raise it when the same settings would give other frames


def video_labels(config: DigitsConfig, split: str, index: int) -> tuple[int, int]:
    """Class numbers (digit, path) of one video; all combinations that occur are equally frequent."""
    classes = config.classes
    digit = index % classes
    if split == "train" and config.correlation == "full":
        return digit, digit
    return digit, index // classes % classes


@cache
def handwriting(split: str, digit: int) -> np.ndarray:
    """The 8 x 8 images of one digit that a split may show: float32 (count, 8, 8) in [0, 1].

    Half of all images are for training, and a quarter for each half of the probe.
    """
    from sklearn.datasets import load_digits

    images, target = load_digits(return_X_y=True)
    chosen = images[target == digit].reshape(-1, 8, 8).astype(np.float32) / 16
    part = {"train": (0, 1), "probe_train": (2,), "probe_test": (3,)}[split]
    shown: np.ndarray = chosen[np.isin(np.arange(len(chosen)) % 4, part)]
    return shown


def render(config: DigitsConfig, split: str, index: int) -> tuple[np.ndarray, dict[str, str]]:
    """Draw one video.

    Returns:
        uint8 frames (frames, size, size, 3) RGB, and the labels.
    """
    rng = generator(config.seed, 128 + SPLITS.index(split), 0, index)
    digit, path = video_labels(config, split, index)
    size, frames = config.size, config.frames
    ink = moving_digit(split, digit, TRAJECTORIES[path], frames, size, rng)[..., None]
    axis = np.arange(size, dtype=np.float32)
    texture = random_waves(8, 0.1 * size, 0.5 * size, 0.03, rng)
    phase = axis[None, :, None] * texture.fx + axis[:, None, None] * texture.fy + texture.phase
    paper = 0.35 + texture.amplitude * np.cos(phase).sum(-1)
    video = 255 * (paper[None, ..., None] + ink * (0.9 - paper[None, ..., None])) * np.ones(3)
    video = video + sensor_noise(video.shape, rng)
    names = {"digit": str(digit), "trajectory": TRAJECTORIES[path]}
    return np.clip(video, 0, 255).astype(np.uint8), names


def moving_digit(
    split: str, digit: int, path: str, frames: int, size: int, rng: np.random.Generator
) -> np.ndarray:
    """How much ink each pixel has, in [0, 1]: (frames, size, size), a random writing of a digit on a path."""
    writings = handwriting(split, digit)
    image = writings[rng.integers(len(writings))]
    centre = moving_centre(path, frames, size, (0.15, 0.20), rng)
    return _sample(image, centre, size, width=rng.uniform(0.42, 0.48) * size)


def _sample(image: np.ndarray, centre: np.ndarray, size: int, width: float) -> np.ndarray:
    """The image in every frame: (frames, size, size), bilinear interpolation, zero outside.

    Args:
        image: (8, 8).
        centre: (frames, 2), x and y of the centre of the image in pixels.
        size: height and width of a frame in pixels.
        width: width of the image in pixels.
    """
    padded = np.pad(image, 1)
    axis = np.arange(size)
    columns, rows = (
        np.clip((axis - centre[:, k, None]) / width * 8 + 4.5, 0, 9 - 1e-6).astype(np.float32) for k in (0, 1)
    )

    def weights(position: np.ndarray) -> np.ndarray:
        """(frames, size, 10) bilinear weights."""
        bilinear: np.ndarray = np.maximum(
            0, 1 - np.abs(position[..., None] - np.arange(10, dtype=np.float32))
        )
        return bilinear

    sampled: np.ndarray = np.einsum("fyr,rc,fxc->fyx", weights(rows), padded, weights(columns), optimize=True)
    return sampled


def rendering(config: DigitsConfig) -> Rendering:
    """The data set of these settings, to be written by :func:`bodvcl.data.made.rendered.write_rendering`."""
    return Rendering("digits", config, _RENDERER, ["digit", "trajectory"], partial(render, config))


def prepare(config: DigitsConfig, *, workers: int | None = None, progress: bool = True) -> Path:
    """Render the data set unless the cache already holds it.

    Returns:
        `labels.csv`, with the columns path, split, digit, trajectory.

    Raises:
        DataError: the cache folder cannot be written.
    """
    return write_rendering(rendering(config), workers=workers, progress=progress)
