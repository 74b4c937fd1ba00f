"""Clips decoded, cut and resized by DALI: on the GPU ("mixed": NVDEC), or on the CPU for VP8, VP9 and MJPEG.

DALI's own readers and random numbers are not used: files, frame numbers and boxes come from the plan, so
that resuming, elastic training and the other sources give the same clips. Colour, flip, blur and
normalisation stay with :func:`bodvcl.data.clips.augment.finish`, the one definition of them. DALI converts
every file as BT.601; what that does to a BT.709 file is undone in its clips' colour matrix.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from nvidia.dali import Pipeline, fn, types
from torch import Tensor

from bodvcl.config.schema import AugmentConfig, ClipConfig
from bodvcl.data.clips.batch import ClipBatch
from bodvcl.data.clips.boxes import box_in_pixels
from bodvcl.data.clips.draws import ClipDraws
from bodvcl.data.clips.plan import ClipPlan, collect
from bodvcl.data.files.video import VideoInfo
from bodvcl.data.sources.base import BatchStream
from bodvcl.data.sources.pyav_source import default_workers

_BT_709 = 1  # number of ITU-T H.273


def _rgb_of(red: float, blue: float) -> np.ndarray:
    """(3, 3): R'G'B' from luma and colour differences, for the luma weights of red and blue."""
    green = 1 - red - blue
    return np.array(
        [
            [1, 0, 2 * (1 - red)],
            [1, -2 * blue * (1 - blue) / green, -2 * red * (1 - red) / green],
            [1, 2 * (1 - blue), 0],
        ]
    )


_TO_BT_709 = _rgb_of(0.2126, 0.0722) @ np.linalg.inv(_rgb_of(0.299, 0.114))
_READ_AHEAD = 4  # batches whose files are being read, beyond those that DALI holds
_PREFETCH = 2  # batches that DALI prepares ahead


@dataclass
class _Item:
    """One batch on its way through DALI; `encoded`, `frames` and `boxes` have an entry per video."""

    epoch: int
    step: int
    indices: list[int] = field(default_factory=list)
    draws: list[ClipDraws] = field(default_factory=list)
    encoded: list[np.ndarray] = field(default_factory=list)
    frames: list[np.ndarray] = field(default_factory=list)
    boxes: list[np.ndarray] = field(default_factory=list)
    failures: list[tuple[str, str]] = field(default_factory=list)

    def add(self, index: int, draws: ClipDraws, video: VideoInfo, encoded: np.ndarray) -> None:
        """One more video."""
        corners = [box_in_pixels(box, video.height, video.width) for box in draws.boxes]
        self.indices.append(index)
        self.draws.append(draws)
        self.encoded.append(encoded)
        self.frames.append(draws.frames.reshape(-1).astype(np.int32))
        self.boxes.append(np.array([(y, x, y + h, x + w) for y, x, h, w in corners], np.float32))

    def only(self, place: int) -> _Item:
        """The video at one place, alone."""
        names = ("indices", "draws", "encoded", "frames", "boxes")
        return _Item(self.epoch, self.step, *([getattr(self, name)[place]] for name in names))

    def inputs(self) -> tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray]]:
        """What the graph is fed with."""
        return self.encoded, self.frames, self.boxes


def clip_graph(source: Any, clip: ClipConfig, *, batch: int, device: torch.device, threads: int) -> Pipeline:
    """The graph: encoded files, frame numbers and boxes in; clips out, uint8 (views, L, S, S, 3) per video.

    Args:
        source: called for every batch; gives lists of uint8 (bytes,), int32 (views * L,) and float32
            (views, 4) top, left, bottom, right in pixels, with one entry per video.
        clip: views, length and size.
        batch: videos per batch, at most.
        device: where decoding and resizing happen.
        threads: of DALI.
    """
    gpu = device.type == "cuda"
    index = None if not gpu else torch.cuda.current_device() if device.index is None else device.index
    graph = Pipeline(batch, threads, index, prefetch_queue_depth=_PREFETCH)
    with graph:
        encoded, frames, boxes = fn.external_source(
            source, num_outputs=3, dtype=[types.UINT8, types.INT32, types.FLOAT], ndim=[1, 1, 2]
        )
        # pad_mode none: a frame that is not there is an error, not a repeated or black frame
        decoded = fn.decoders.video(encoded, device="mixed" if gpu else "cpu", frames=frames, pad_mode="none")
        views = [
            fn.resize(
                decoded[view * clip.frames : (view + 1) * clip.frames],
                size=[clip.size, clip.size],
                roi_start=boxes[view, 0:2],
                roi_end=boxes[view, 2:4],
                interp_type=types.INTERP_LINEAR,
                antialias=True,
            )
            for view in range(clip.views)
        ]
        graph.set_outputs(fn.stack(*views))
    return graph


def _read(path: str) -> np.ndarray | str:
    """The bytes of a file, or why there are none."""
    try:
        encoded = np.fromfile(path, np.uint8)
    except FileNotFoundError:
        return "no such file"
    except OSError as error:
        return error.strerror or str(error)
    return encoded if len(encoded) else "empty file (0 bytes)"


def _corrected(draws: ClipDraws, video: VideoInfo) -> ClipDraws:
    """Draws whose colour matrix takes pixels of a BT.709 file that were converted as BT.601."""
    if video.colour_space != _BT_709:
        return draws
    linear, offset = draws.colour[:, :, :3], draws.colour[:, :, 3:]
    colour = np.concatenate([linear @ _TO_BT_709, offset], axis=2).astype(np.float32)
    return replace(draws, colour=colour)


def _reason(error: RuntimeError) -> str:
    """What DALI says it encountered, without where in the graph and what to do about it."""
    told = str(error).partition("encountered:")[2] or str(error)
    return f"DALI cannot decode it ({told.strip().splitlines()[0]})"


class DaliSource(BatchStream):
    """Decodes with DALI; `clips` of its batches lie on the device.

    A batch that DALI cannot decode is decoded again, video by video, so that only the bad ones are left out.
    A decoder that hangs cannot be ended here: it is in this process.

    Raises:
        DataError, ConfigError, ValueError: see :class:`~bodvcl.data.clips.plan.ClipPlan`.
    """

    def __init__(
        self,
        videos: Sequence[VideoInfo],
        clip: ClipConfig,
        augment: AugmentConfig,
        *,
        device: torch.device,
        batch_size: int,
        seed: int,
        workers: int | None = None,
        rank: int = 0,
        world_size: int = 1,
        max_bad: float = 0.01,
    ) -> None:
        """
        Args:
            videos, clip, augment, batch_size, seed, rank, world_size: see
                :class:`~bodvcl.data.clips.plan.ClipPlan`.
            device: "cuda" or "cpu".
            workers: threads that read files, and as many of DALI. 0 or None: by the number of cores.
            max_bad: share of the videos that may turn out to be unreadable.
        """
        super().__init__(ClipPlan(videos, clip, augment, batch_size, seed, rank, world_size), max_bad)
        self._device = device
        self._threads = workers or default_workers()

    def _batches_from(self, epoch: int, step: int) -> Generator[ClipBatch]:
        first = epoch * self.steps_per_epoch + step
        while True:  # again, with a new graph, after each batch that DALI could not decode
            for item, clips in self._run(first):
                first += 1
                if clips is None:
                    yield self._one_by_one(item)
                    break
                yield self._batch(item, clips)

    def _run(self, first: int) -> Generator[tuple[_Item, Tensor | None]]:
        """Batches from a place on, until one cannot be decoded; that one comes last, without clips."""
        items = self._items(first)
        fed: deque[_Item] = deque()

        def feed() -> tuple[list[np.ndarray], ...]:
            item = next(items)
            fed.append(item)
            if not item.indices:
                raise StopIteration  # DALI takes no empty batch
            return item.inputs()

        graph = self._graph(feed, self.plan.share)
        try:
            while True:
                try:
                    clips = self._clips(graph)
                except (RuntimeError, StopIteration):
                    if not fed:
                        raise
                    clips = None
                yield fed.popleft(), clips
                if clips is None:
                    return
        finally:
            items.close()

    def _graph(self, source: Any, batch: int) -> Pipeline:
        graph = clip_graph(source, self.plan.clip, batch=batch, device=self._device, threads=self._threads)
        graph.build()
        return graph

    def _clips(self, graph: Pipeline) -> Tensor:
        """The next batch, (videos * views, L, S, S, 3), in DALI's memory; bound to the current stream."""
        gpu = self._device.type == "cuda"
        (clips,) = graph.run(torch.cuda.current_stream(self._device)) if gpu else graph.run()
        return torch.from_dlpack(clips.as_tensor()).flatten(0, 1)

    def _items(self, first: int) -> Generator[_Item]:
        """Batches from a place on, their files read ahead by threads."""
        pending: deque[tuple[int, int, list[tuple[int, Future]]]] = deque()
        pool = ThreadPoolExecutor(self._threads)
        try:
            for number in itertools.count(first):
                epoch, step = divmod(number, self.steps_per_epoch)
                reads = [
                    (index, pool.submit(_read, self.plan.videos[index].path))
                    for index in self.plan.indices(epoch, step)
                ]
                pending.append((epoch, step, reads))
                if len(pending) > _READ_AHEAD:
                    yield self._item(*pending.popleft())
        finally:  # does not wait: a forgotten source may be collected in one of these threads
            pool.shutdown(wait=False, cancel_futures=True)

    def _item(self, epoch: int, step: int, reads: list[tuple[int, Future]]) -> _Item:
        item = _Item(epoch, step)
        for index, read in reads:
            video, encoded = self.plan.videos[index], read.result()
            if isinstance(encoded, str):
                item.failures.append((video.path, encoded))
            else:
                item.add(index, _corrected(self.plan.draws(epoch, index), video), video, encoded)
        return item

    def _batch(self, item: _Item, clips: Tensor) -> ClipBatch:
        return collect(clips, item.indices, item.draws, item.failures, item.epoch, item.step)

    def _one_by_one(self, item: _Item) -> ClipBatch:
        """A batch with bad videos in it: each is decoded in a graph of its own; the good ones are kept."""
        kept = _Item(item.epoch, item.step, failures=list(item.failures))
        clips: list[Tensor] = []
        for place, index in enumerate(item.indices):
            video = self.plan.videos[index]
            try:
                clips.append(self._clips(self._graph(item.only(place).inputs, 1)).clone())
            except RuntimeError as error:
                kept.failures.append((video.path, _reason(error)))
            else:
                kept.add(index, item.draws[place], video, item.encoded[place])
        return self._batch(kept, torch.cat(clips) if clips else torch.empty(0, dtype=torch.uint8))
