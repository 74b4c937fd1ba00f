"""The part of a frame that a clip shows, and the boxes in it; pure functions of (seed, epoch, index)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from bodvcl.data.randomness import generator
from bodvcl.ops.augment import resize_box

_VIEW = 48  # purpose of these random numbers; those of bodvcl.data.clips are below 8
_TRIES = 10


@dataclass(frozen=True)
class View:
    """A crop of a frame, and what becomes of it.

    Attributes:
        crop: top, left, height and width in pixels of the frame.
        size: height and width of the result in pixels.
        flip: mirror left and right.
    """

    crop: tuple[int, int, int, int]
    size: tuple[int, int]
    flip: bool = False

    def pixels(self, frames: Tensor) -> Tensor:
        """Frames uint8 ``(L, H, W, 3)`` to what is seen of them, uint8 ``(L, height, width, 3)``."""
        seen = resize_box(frames, self.crop, self.size)
        return (seen.flip(2) if self.flip else seen).contiguous()

    def boxes(self, boxes: np.ndarray, rows: int, columns: int) -> np.ndarray:
        """Where boxes of a frame are in the result.

        Args:
            boxes: (K, 4) x1, y1, x2, y2 as shares of a frame of ``rows`` x ``columns`` pixels.

        Returns:
            float32 (K, 4) in pixels of the result, clipped to it; those outside of the crop have no area.
        """
        top, left, height, width = self.crop
        high, wide = self.size
        x = (boxes[:, 0::2] * columns - left) * (wide / width)
        y = (boxes[:, 1::2] * rows - top) * (high / height)
        if self.flip:
            x = wide - x[:, ::-1]
        x, y = np.clip(x, 0, wide), np.clip(y, 0, high)
        return np.stack([x[:, 0], y[:, 0], x[:, 1], y[:, 1]], 1).astype(np.float32)


def has_area(boxes: np.ndarray) -> np.ndarray:
    """bool (K,): which boxes x1, y1, x2, y2 have an area."""
    area: np.ndarray = (boxes[:, 0] < boxes[:, 2]) & (boxes[:, 1] < boxes[:, 3])
    return area


def training_view(
    rows: int,
    columns: int,
    boxes: np.ndarray,
    *,
    size: int,
    short_side: tuple[int, int],
    flip: float,
    seed: int,
    epoch: int,
    index: int,
) -> View:
    """Scale the short side to a random length, cut a random square out, mirror it or not.

    A crop without any box is drawn again. After ten of these the square is as near to the middle of the first
    box as it can be.

    Args:
        rows, columns: height and width of the frame in pixels.
        boxes: (K, 4) as shares of the frame, at least one.
        size: height and width of the square in pixels, at most the smallest short side.
        short_side: smallest and largest length of the short side in pixels.
        flip: probability of a mirrored clip.
        seed, epoch, index: address of the draws.
    """
    rng = generator(seed, _VIEW, epoch, index)
    scaled = int(rng.integers(short_side[0], short_side[1] + 1))
    mirrored = bool(rng.random() < flip)
    side = max(round(size * min(rows, columns) / scaled), 1)
    free = np.array([rows - side, columns - side])
    middle = (boxes[0, [1, 0]] + boxes[0, [3, 2]]) / 2 * (rows, columns) - side / 2
    corners = [*(rng.random((_TRIES, 2)) * free), np.clip(middle, 0, free)]
    views = [View((round(top), round(left), side, side), (size, size), mirrored) for top, left in corners]
    return next((v for v in views if has_area(v.boxes(boxes, rows, columns)).any()), views[-1])


def whole_view(rows: int, columns: int, short_side: int, step: int = 1) -> View:
    """The whole frame, its short side scaled to a length.

    Args:
        rows, columns: height and width of the frame in pixels.
        short_side: length of the short side in pixels.
        step: height and width are rounded to a multiple of this number.
    """
    scale = short_side / min(rows, columns)
    height, width = (max(round(side * scale / step), 1) * step for side in (rows, columns))
    return View((0, 0, rows, columns), (height, width))
