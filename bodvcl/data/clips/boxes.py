"""The part of a frame that a clip shows: random and centred crops."""

from __future__ import annotations

import numpy as np

from bodvcl.config.schema import AugmentConfig
from bodvcl.data.files.video import VideoInfo

CROP_TRIES = 10
"""Random boxes that are tried before the largest centred one is taken."""


def random_boxes(info: VideoInfo, augment: AugmentConfig, uniform: np.ndarray) -> np.ndarray:
    """Random resized crops, one per clip: the first of ten tries that fits, else the largest centred box.

    Args:
        info: the video.
        augment: ranges of the crop's area and aspect ratio.
        uniform: (views, 22) in [0, 1): ten times area and aspect ratio, then the position.

    Returns:
        float64 (views, 4), top, left, height and width as shares of the frame.
    """
    tries, place = uniform[:, : 2 * CROP_TRIES].reshape(-1, CROP_TRIES, 2), uniform[:, -2:]
    low, high = augment.crop_area
    area = (low + (high - low) * tries[:, :, 0]) * info.width * info.height
    low, high = np.log(augment.crop_aspect)
    aspect = np.exp(low + (high - low) * tries[:, :, 1])
    widths, heights = np.sqrt(area * aspect) / info.width, np.sqrt(area / aspect) / info.height
    fits = (widths <= 1) & (heights <= 1)
    first = np.arange(len(fits)), fits.argmax(axis=1)
    shape = info.width / info.height
    fallback = np.clip(shape, *augment.crop_aspect)
    width = np.where(fits.any(axis=1), widths[first], min(1.0, fallback / shape))
    height = np.where(fits.any(axis=1), heights[first], min(1.0, shape / fallback))
    corner = np.where(fits.any(axis=1)[:, None], place, 0.5)
    return np.stack([corner[:, 0] * (1 - height), corner[:, 1] * (1 - width), height, width], axis=1)


def box_in_pixels(box: np.ndarray, rows: int, columns: int) -> tuple[int, int, int, int]:
    """A box in whole pixels, at least one pixel high and wide.

    Args:
        box: (4,) top, left, height and width as shares of the frame.
        rows, columns: height and width of the frame in pixels.

    Returns:
        Top, left, height and width in pixels.
    """
    top, left = round(box[0] * rows), round(box[1] * columns)
    height = max(min(round(box[2] * rows), rows - top), 1)
    width = max(min(round(box[3] * columns), columns - left), 1)
    return min(top, rows - 1), min(left, columns - 1), height, width


def squares_along(rows: int, columns: int, count: int) -> np.ndarray:
    """(count, 4): the largest squares of a frame, spread evenly along its longer side, from end to end.

    Args:
        rows, columns: height and width of the frame in pixels.
        count: number of squares; 1: the centred one. Those of a square frame are all the same.
    """
    if count == 1:
        return centred_square(rows, columns)[None]
    side = min(rows, columns)
    height, width = side / rows, side / columns
    place = np.linspace(0.0, 1.0, count)
    size = np.ones(count)
    return np.stack([place * (1 - height), place * (1 - width), size * height, size * width], axis=1)


def centred_square(rows: int, columns: int) -> np.ndarray:
    """(4,) top, left, height, width of the largest centred square of a frame, as shares of it."""
    side = min(rows, columns)
    height, width = side / rows, side / columns
    return np.array([(1 - height) / 2, (1 - width) / 2, height, width])
