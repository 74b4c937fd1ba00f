"""Controlled clips (section 3.2 of the paper): static semantics without motion, motion without appearance.

Static control: one frame of the clip, repeated, so that no clip moves.

Dynamic control, after Ilic, Pock and Wildes, "Is Appearance Free Action Recognition Possible?" (ECCV 2022):
a frame of noise, uniform and independent for every pixel and channel, is moved by the optical flow of the
video, from each frame to the next. Where nothing moves to (beyond the edge of the frame, and in uncovered
regions) there is new noise.

Motion of less than a pixel adds up over frames, and no noise sample appears twice in a frame. A single frame
is therefore independent uniform noise like the first one, whatever the video shows: appearance is gone by
construction, and only the relation between frames is left.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from bodvcl.config.schema import ClipConfig
from bodvcl.data.randomness import generator
from bodvcl.evaluate.flow import Flow

Frames = NDArray[np.uint8]

_FRAME, _NOISE = 102, 103


def still_clip(frames: Frames, which: int) -> Frames:
    """Frame ``which`` of a clip ``(L, H, W, 3)``, L times."""
    return np.repeat(frames[which : which + 1], len(frames), axis=0)


def warped_noise(flow: NDArray[np.floating], rng: np.random.Generator) -> Frames:
    """Noise that the flow moves.

    A pixel of frame t + 1 gets the noise sample of frame t that lies nearest to where the pixel was. How far
    the sample then is from the pixel's centre is remembered, so that motion of less than a pixel adds up. A
    sample that is the nearest of several pixels goes to the one that it fits best; the others, and pixels
    without a sample within one pixel, get new noise.

    Args:
        flow: ``(F - 1, H, W, 2)`` float, backward flow in pixels: what is at pixel (x, y) of frame t + 1 was
            at (x + dx, y + dy) in frame t, ``(dx, dy) = flow[t, y, x]``.
        rng: generator of the noise.

    Returns:
        uint8 ``(F, H, W, 3)``. Each frame by itself is independent uniform noise.
    """
    steps, height, width = flow.shape[:3]
    pixels = np.stack(list(np.indices((height, width))[::-1]), axis=-1).reshape(-1, 2).astype(np.float64)
    offset = np.zeros_like(pixels)  # from the centre of each pixel to the place of its sample
    noise = rng.integers(0, 256, (steps + 1, len(pixels), 3), dtype=np.uint8)
    frames = [noise[0]]
    for t in range(steps):
        source = pixels + flow[t].reshape(-1, 2)
        sample, gap = _nearest_sample(source, offset, height, width)
        distance = (gap**2).sum(1)
        kept = (distance <= 1) & _is_best(sample, distance)
        frames.append(np.where(kept[:, None], frames[t][sample], noise[t + 1]))
        offset = np.where(kept[:, None], gap, 0.0)
    return np.stack(frames).reshape(steps + 1, height, width, 3)


class Control(Protocol):
    """Changes the clips of one video before an encoder sees them."""

    @property
    def name(self) -> str:
        """What messages call it."""
        ...

    @property
    def on_workers(self) -> bool:
        """Whether it may run in the decoding processes."""
        ...

    def decoded(self, clip: ClipConfig) -> ClipConfig:
        """The clips to decode: those that the encoder sees, or more frames of them."""
        ...

    def __call__(self, clips: Frames, video: int) -> Frames:
        """Change decoded clips.

        Args:
            clips: uint8 ``(V, F, H, W, 3)``: V clips of the video, as :meth:`decoded` describes them.
            video: number of the video; with the seed it decides all draws.

        Returns:
            uint8 ``(V, L, H, W, 3)``.
        """
        ...

    def key(self) -> dict[str, str | int]:
        """Everything that the result depends on, except the clips."""
        ...


@dataclass(frozen=True)
class StaticControl:
    """One frame of each clip, drawn by the seed, repeated."""

    seed: int
    name: ClassVar[str] = "static control: one frame repeated"
    on_workers: ClassVar[bool] = True

    def decoded(self, clip: ClipConfig) -> ClipConfig:
        return clip

    def __call__(self, clips: Frames, video: int) -> Frames:
        chosen = generator(self.seed, _FRAME, 0, video).integers(clips.shape[1], size=len(clips))
        return np.stack([still_clip(clip, which) for clip, which in zip(clips, chosen.tolist())])

    def key(self) -> dict[str, str | int]:
        return {"control": "static", "seed": self.seed}


@dataclass(frozen=True)
class DynamicControl:
    """Noise moved by the optical flow between all frames of the video that a clip spans.

    The flow is that of the cropped and resized clip, and noise has the clip's resolution.
    """

    seed: int
    flow: Flow
    stride: int
    """Stride of the clips: every ``stride``-th decoded frame is kept."""

    @property
    def name(self) -> str:
        return f"dynamic control: noise moved by optical flow, {self.flow.name}"

    @property
    def on_workers(self) -> bool:
        return self.flow.on_workers

    def decoded(self, clip: ClipConfig) -> ClipConfig:
        return replace(clip, frames=(clip.frames - 1) * clip.stride + 1, stride=1)

    def __call__(self, clips: Frames, video: int) -> Frames:
        draws = (generator(self.seed, _NOISE, view, video) for view in range(len(clips)))
        return np.stack(
            [warped_noise(self.flow(clip), rng)[:: self.stride] for clip, rng in zip(clips, draws)]
        )

    def key(self) -> dict[str, str | int]:
        return {"control": "dynamic", "seed": self.seed, "flow": self.flow.name}


def _nearest_sample(
    source: NDArray[np.float64], offset: NDArray[np.float64], height: int, width: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Number of the pixel whose sample lies nearest to each place (x, y), and the way from the place to it.

    Looked for among the nine pixels around the place; infinitely far where none of them is in the frame.
    """
    around = np.floor(source + 0.5)
    best = np.full(len(source), np.inf)
    sample = np.zeros(len(source), dtype=np.int64)
    gap = np.full_like(source, np.inf)
    for step in itertools.product((0, -1, 1), repeat=2):
        x, y = (around + step).T
        inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
        number = np.where(inside, y * width + x, 0).astype(np.int64)
        way = around + step + offset[number] - source
        distance = np.where(inside, (way**2).sum(1), np.inf)
        nearer = distance < best
        best[nearer], sample[nearer], gap[nearer] = distance[nearer], number[nearer], way[nearer]
    return sample, gap


def _is_best(key: NDArray[np.int64], rank: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether each entry has the lowest rank of all entries with the same key."""
    order = np.lexsort((rank, key))
    best = np.ones(len(key), dtype=bool)
    best[order[1:]] = key[order[1:]] != key[order[:-1]]
    return best
