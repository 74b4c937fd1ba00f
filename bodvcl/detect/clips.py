"""Clips around key frames, and the boxes of people in them: as training sees them, and as the test does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bodvcl.detect.examples import Example
from bodvcl.detect.films import Film, clip_numbers
from bodvcl.detect.view import View, has_area, training_view, whole_view

Seen = tuple[Tensor, np.ndarray, np.ndarray]
"""A clip, uint8 (L, H, W, 3); the boxes in it, float32 (K, 4) in its pixels; which of the example's people
these are, int64 (K,)."""


@dataclass(frozen=True)
class ClipShape:
    """How clips are cut around a key frame, and what is seen of them.

    Attributes:
        frames, stride, fps: see :func:`bodvcl.detect.films.clip_numbers`.
        size: height and width of a training clip in pixels.
        short_side: smallest and largest short side that frames are scaled to before it is cut out.
        flip: probability that a training clip is mirrored.
        test_side: short side of a test clip in pixels.
        step: height and width of a test clip are multiples of this number of pixels.
    """

    frames: int
    stride: int
    fps: float | None
    size: int
    short_side: tuple[int, int]
    flip: float
    test_side: int
    step: int = 1


class KeyFrameClips:
    """Examples with their films.

    Args:
        examples: key frames, each with at least one person.
        films: their films by id.
        shape: what a clip is.
    """

    def __init__(self, examples: Sequence[Example], films: Mapping[str, Film], shape: ClipShape) -> None:
        self.examples, self.films, self.shape = examples, films, shape

    def frames(self, example: Example) -> np.ndarray:
        """uint8 (L, H, W, 3) RGB, the whole frames of the clip of an example.

        Raises:
            BadVideo: they cannot be read.
        """
        film, shape = self.films[example.film], self.shape
        numbers = clip_numbers(film.times(), example.second, shape.frames, shape.stride, shape.fps)
        return film.read(numbers)

    def key_frame(self, example: Example) -> np.ndarray:
        """uint8 (H, W, 3) RGB, the frame at the second of an example.

        Raises:
            BadVideo: it cannot be read.
        """
        film = self.films[example.film]
        frame: np.ndarray = film.read(clip_numbers(film.times(), example.second, 1, 1))[0]
        return frame

    def training(self, index: int, seed: int, epoch: int) -> Seen:
        """The clip of an example as training sees it."""
        example, shape = self.examples[index], self.shape
        frames = self.frames(example)
        _, rows, columns, _ = frames.shape
        view = training_view(
            rows, columns, example.boxes, size=shape.size, short_side=shape.short_side, flip=shape.flip,
            seed=seed, epoch=epoch, index=index,
        )  # fmt: skip
        return self._seen(frames, example, view)

    def whole(self, index: int) -> Seen:
        """The clip of an example as the test sees it."""
        example = self.examples[index]
        frames = self.frames(example)
        _, rows, columns, _ = frames.shape
        return self._seen(frames, example, whole_view(rows, columns, self.shape.test_side, self.shape.step))

    def _seen(self, frames: np.ndarray, example: Example, view: View) -> Seen:
        _, rows, columns, _ = frames.shape
        boxes = view.boxes(example.boxes, rows, columns)
        people = np.flatnonzero(has_area(boxes))
        return view.pixels(torch.from_numpy(frames)), boxes[people], people
