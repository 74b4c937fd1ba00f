"""Clips decoded by TorchCodec, on the CPU or by NVDEC, in threads of this process."""

from __future__ import annotations

import itertools
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass

import torch
from torch import Tensor
from torchcodec.decoders import VideoDecoder

from bodvcl.data.clips.augment import crop_resize
from bodvcl.data.clips.batch import ClipBatch
from bodvcl.data.clips.draws import ClipDraws
from bodvcl.data.clips.plan import ClipPlan, collect
from bodvcl.data.files.video import BadVideo, VideoInfo
from bodvcl.data.sources.base import PlannedSource
from bodvcl.data.sources.read_ahead import read_ahead
from bodvcl.data.tars.held import HeldError, held_bytes
from bodvcl.data.workers.process import default_workers
from bodvcl.text.words import counted

_AHEAD = 2  # batches that are being decoded while one is used


def load_clips(info: VideoInfo, draws: ClipDraws, size: int, device: torch.device) -> Tensor:
    """Decode, crop and resize all clips of one video: uint8 (views, L, size, size, 3) on the device.

    Raises:
        BadVideo: TorchCodec cannot decode the file, or finds another number of frames than the scan.
    """
    views, length = draws.frames.shape
    try:
        source = info.path if info.held is None else held_bytes(info.held)
        decoder = VideoDecoder(source, device=str(device), dimension_order="NHWC", seek_mode="exact")
        expected = (info.whole or info).frames
        if len(decoder) != expected:
            raise BadVideo(
                info.path, f"TorchCodec finds {counted(len(decoder), 'frame')}, the scan {expected}"
            )
        frames = decoder.get_frames_at((draws.frames.reshape(-1) + info.first).tolist()).data
    except HeldError as error:
        raise BadVideo(info.path, str(error)) from error
    except (RuntimeError, ValueError, IndexError, OSError) as error:
        told = (str(error).splitlines() or [type(error).__name__])[0]
        raise BadVideo(info.path, f"TorchCodec cannot decode it ({told})") from error
    cut = [
        crop_resize(clip, box, size) for clip, box in zip(frames.unflatten(0, (views, length)), draws.boxes)
    ]
    return torch.stack(cut)


@dataclass(frozen=True)
class _Jobs:
    """One batch in work.

    Attributes:
        epoch, step: its place in the training.
        videos: number, draws and clips to come of each video.
    """

    epoch: int
    step: int
    videos: list[tuple[int, ClipDraws, Future[Tensor]]]


class TorchCodecSource(PlannedSource):
    """Decodes with TorchCodec; `clips` of its batches lie on the device.

    A decoder that hangs cannot be stopped, because it runs in this process.
    """

    def __init__(
        self, plan: ClipPlan, device: torch.device, *, workers: int | None = None, max_bad: float = 0.01
    ) -> None:
        """
        Args:
            plan: what each step sees.
            device: "cuda" or "cpu".
            workers: decoding threads. 0 or None: by the number of cores.
            max_bad: share of the videos that may turn out to be unreadable, 0 to 1.
        """
        super().__init__(plan, max_bad)
        self._device = device
        self._threads = workers or default_workers()

    def _batches_from(self, epoch: int, step: int) -> Generator[ClipBatch]:
        numbers = itertools.count(epoch * self.steps_per_epoch + step)
        with closing(read_ahead(self._submit, numbers, threads=self._threads, ahead=_AHEAD)) as batches:
            for jobs in batches:
                yield self._collect(jobs)

    def _submit(self, pool: ThreadPoolExecutor, number: int) -> _Jobs:
        epoch, step = divmod(number, self.steps_per_epoch)
        jobs = []
        for index in self.plan.indices(epoch, step):
            video, draws = self.plan.videos[index], self.plan.draws(epoch, index)
            clips = pool.submit(load_clips, video, draws, self.plan.clip.size, self._device)
            jobs.append((index, draws, clips))
        return _Jobs(epoch, step, jobs)

    def _collect(self, jobs: _Jobs) -> ClipBatch:
        """The batch, once its videos are decoded."""
        clips: list[Tensor] = []
        indices: list[int] = []
        kept: list[ClipDraws] = []
        failures: list[tuple[str, str]] = []
        spares = self.plan.spares(jobs.epoch, jobs.step)
        for index, draws, decoded in jobs.videos:
            try:
                found = index, draws, decoded.result()
            except BadVideo as error:
                failures.append((error.path, error.reason))
                spare = self._first_readable(jobs.epoch, spares, failures)
                if spare is None:
                    continue
                found = spare
            indices.append(found[0])
            kept.append(found[1])
            clips.append(found[2])
        stacked = torch.cat(clips) if clips else torch.empty(0, dtype=torch.uint8)
        return collect(stacked, indices, kept, failures, jobs.epoch, jobs.step)

    def _first_readable(
        self, epoch: int, spares: Iterator[int], failures: list[tuple[str, str]]
    ) -> tuple[int, ClipDraws, Tensor] | None:
        """Number, draws and clips of the next spare video that can be read; None: there is none."""
        for index in spares:
            draws = self.plan.draws(epoch, index)
            try:
                clips = load_clips(self.plan.videos[index], draws, self.plan.clip.size, self._device)
            except BadVideo as error:
                failures.append((error.path, error.reason))
                continue
            return index, draws, clips
        return None
