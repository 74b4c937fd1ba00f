"""Clips decoded, cut and resized by DALI: on the GPU ("mixed": NVDEC), or on the CPU for VP8, VP9 and MJPEG.

DALI's own readers and random numbers are not used. Files, frame numbers and boxes come from the plan, so
resumed runs, other numbers of processes and other sources give the same clips. Colour, flip, blur and
normalisation are left to :func:`bodvcl.data.clips.augment.finish`. DALI converts every file as BT.601; for a
BT.709 file this is corrected in the colour matrix of its clips.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field

import numpy as np
import torch
from nvidia.dali import Pipeline
from torch import Tensor
from torch.utils.dlpack import from_dlpack

from bodvcl.data.clips.batch import ClipBatch
from bodvcl.data.clips.boxes import box_in_pixels
from bodvcl.data.clips.draws import ClipDraws
from bodvcl.data.clips.plan import ClipPlan, collect
from bodvcl.data.files.video import VideoInfo
from bodvcl.data.sources.base import PlannedSource
from bodvcl.data.sources.dali_graph import Inputs, clip_graph, corrected
from bodvcl.data.sources.read_ahead import read_ahead
from bodvcl.data.tars.held import HeldError, held_bytes
from bodvcl.data.workers.process import default_workers

_Bytes = Future[np.ndarray | str]
_PER_VIDEO = ("indices", "draws", "encoded", "frames", "boxes")
_READ_AHEAD = 4  # batches whose files are being read, beyond those that DALI holds


@dataclass
class _Item:
    """One batch on its way through DALI; its first lists have one entry per video.

    Attributes:
        failures: (path, reason) of the videos that cannot be read.
        spares: numbers of the videos that may take their places, in order.
    """

    epoch: int
    step: int
    indices: list[int] = field(default_factory=list)
    draws: list[ClipDraws] = field(default_factory=list)
    encoded: list[np.ndarray] = field(default_factory=list)
    frames: list[np.ndarray] = field(default_factory=list)
    boxes: list[np.ndarray] = field(default_factory=list)
    failures: list[tuple[str, str]] = field(default_factory=list)
    spares: Iterator[int] = field(default_factory=lambda: iter(()))

    def add(self, index: int, draws: ClipDraws, video: VideoInfo, encoded: np.ndarray) -> None:
        """One more video."""
        corners = [box_in_pixels(box, *video.pixels) for box in draws.boxes]
        self.indices.append(index)
        self.draws.append(draws)
        self.encoded.append(encoded)
        self.frames.append((draws.frames.reshape(-1) + video.first).astype(np.int32))
        self.boxes.append(np.array([(y, x, y + h, x + w) for y, x, h, w in corners], np.float32))

    def only(self, place: int) -> _Item:
        """An item with only the video at one position."""
        one = _Item(self.epoch, self.step)
        for name in _PER_VIDEO:
            setattr(one, name, [getattr(self, name)[place]])
        return one

    def join(self, other: _Item) -> None:
        """Take over the videos of another item."""
        for name in _PER_VIDEO:
            getattr(self, name).extend(getattr(other, name))

    def inputs(self) -> Inputs:
        """The inputs of the graph."""
        return self.encoded, self.frames, self.boxes


def _read(video: VideoInfo) -> np.ndarray | str:
    """The bytes of a video's file, or why there are none."""
    try:
        if video.held is None:
            encoded = np.fromfile(video.path, np.uint8)
        else:
            encoded = np.frombuffer(held_bytes(video.held), np.uint8)
    except HeldError as error:
        return str(error)
    except FileNotFoundError:
        return "no such file"
    except OSError as error:
        return error.strerror or str(error)
    return encoded if len(encoded) else "empty file (0 bytes)"


def _reason(error: RuntimeError) -> str:
    """The reason in an error of DALI, without the place in the graph and the advice."""
    told = str(error).partition("encountered:")[2] or str(error)
    return f"DALI cannot decode it ({told.strip().splitlines()[0]})"


class DaliSource(PlannedSource):
    """Decodes with DALI; `clips` of its batches lie on the device.

    A batch that DALI cannot decode is decoded again video by video, so only the bad videos are replaced.
    A decoder that hangs cannot be stopped, because it runs in this process.
    """

    def __init__(
        self, plan: ClipPlan, device: torch.device, *, workers: int | None = None, max_bad: float = 0.01
    ) -> None:
        """
        Args:
            plan: what each step sees.
            device: "cuda" or "cpu".
            workers: threads that read files, and the same number of DALI threads. 0 or None: by the number of
                cores.
            max_bad: share of the videos that may turn out to be unreadable, 0 to 1.
        """
        super().__init__(plan, max_bad)
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
        """Batches from a position on, until one cannot be decoded; that one is the last, without clips."""
        items = self._items(first)
        fed: deque[_Item] = deque()

        def feed() -> Inputs:
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

    def _graph(self, source: Callable[[], Inputs], batch: int) -> Pipeline:
        graph = clip_graph(source, self.plan.clip, batch=batch, device=self._device, threads=self._threads)
        graph.build()
        return graph

    def _clips(self, graph: Pipeline) -> Tensor:
        """The next batch, (videos * views, L, S, S, 3), in DALI's memory; bound to the current stream."""
        gpu = self._device.type == "cuda"
        (clips,) = graph.run(torch.cuda.current_stream(self._device)) if gpu else graph.run()
        return from_dlpack(clips.as_tensor()).flatten(0, 1)

    def _items(self, first: int) -> Generator[_Item]:
        """Batches from a position on; their files are read ahead by threads."""
        numbers = itertools.count(first)
        with closing(read_ahead(self._submit, numbers, threads=self._threads, ahead=_READ_AHEAD)) as batches:
            for number, reads in batches:
                yield self._item(*divmod(number, self.steps_per_epoch), reads)

    def _submit(self, pool: ThreadPoolExecutor, number: int) -> tuple[int, list[tuple[int, _Bytes]]]:
        """The number of a batch, and for each of its videos its number and its bytes to come."""
        indices = self.plan.indices(*divmod(number, self.steps_per_epoch))
        return number, [(index, pool.submit(_read, self.plan.videos[index])) for index in indices]

    def _item(self, epoch: int, step: int, reads: list[tuple[int, _Bytes]]) -> _Item:
        item = _Item(epoch, step, spares=self.plan.spares(epoch, step))
        for index, read in reads:
            found = self._one(item, index, read.result()) or self._spare(item)
            if found is not None:
                item.join(found)
        return item

    def _one(self, item: _Item, index: int, encoded: np.ndarray | str) -> _Item | None:
        """An item with only this video; None: it could not be read, and the failure is added to ``item``."""
        video = self.plan.videos[index]
        if isinstance(encoded, str):
            item.failures.append((video.path, encoded))
            return None
        one = _Item(item.epoch, item.step)
        one.add(index, corrected(self.plan.draws(item.epoch, index), video), video, encoded)
        return one

    def _spare(self, item: _Item) -> _Item | None:
        """An item with only the next spare video that can be read; None: there is none."""
        read = (self._one(item, index, _read(self.plan.videos[index])) for index in item.spares)
        return next((one for one in read if one is not None), None)

    def _batch(self, item: _Item, clips: Tensor) -> ClipBatch:
        return collect(clips, item.indices, item.draws, item.failures, item.epoch, item.step)

    def _one_by_one(self, item: _Item) -> ClipBatch:
        """A batch with bad videos: each is decoded in its own graph, and spare ones replace the bad."""
        kept = _Item(item.epoch, item.step, failures=item.failures)
        clips: list[Tensor] = []
        for place in range(len(item.indices)):
            one: _Item | None = item.only(place)
            while one is not None:
                try:
                    clips.append(self._clips(self._graph(one.inputs, 1)).clone())
                except RuntimeError as error:
                    item.failures.append((self.plan.videos[one.indices[0]].path, _reason(error)))
                    one = self._spare(item)
                else:
                    kept.join(one)
                    break
        return self._batch(kept, torch.cat(clips) if clips else torch.empty(0, dtype=torch.uint8))
