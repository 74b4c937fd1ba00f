"""Clips decoded by TorchCodec, on the CPU or by NVDEC, in threads of this process."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor
from torchcodec.decoders import VideoDecoder

from bodvcl.config.schema import AugmentConfig, ClipConfig
from bodvcl.data.clips.augment import crop_resize
from bodvcl.data.clips.batch import ClipBatch
from bodvcl.data.clips.draws import ClipDraws
from bodvcl.data.clips.plan import ClipPlan, collect
from bodvcl.data.files.video import BadVideo, VideoInfo
from bodvcl.data.sources.base import BatchStream
from bodvcl.data.sources.pyav_source import default_workers
from bodvcl.text.words import counted

_AHEAD = 2  # batches that are being decoded while one is used


def load_clips(info: VideoInfo, draws: ClipDraws, size: int, device: torch.device) -> Tensor:
    """Decode, crop and resize all clips of one video: uint8 (views, L, size, size, 3) on the device.

    Raises:
        BadVideo: TorchCodec cannot decode the file, or counts its frames otherwise than the scan did.
    """
    views, length = draws.frames.shape
    try:
        decoder = VideoDecoder(info.path, device=str(device), dimension_order="NHWC", seek_mode="exact")
        if len(decoder) != info.frames:
            raise BadVideo(
                info.path, f"TorchCodec finds {counted(len(decoder), 'frame')}, the scan {info.frames}"
            )
        frames = decoder.get_frames_at(draws.frames.reshape(-1).tolist()).data
    except (RuntimeError, ValueError, IndexError, OSError) as error:
        told = (str(error).splitlines() or [type(error).__name__])[0]
        raise BadVideo(info.path, f"TorchCodec cannot decode it ({told})") from error
    cut = [
        crop_resize(clip, box, size) for clip, box in zip(frames.unflatten(0, (views, length)), draws.boxes)
    ]
    return torch.stack(cut)


class TorchCodecSource(BatchStream):
    """Decodes with TorchCodec; `clips` of its batches lie on the device.

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
            workers: decoding threads. 0 or None: by the number of cores.
            max_bad: share of the videos that may turn out to be unreadable.
        """
        super().__init__(ClipPlan(videos, clip, augment, batch_size, seed, rank, world_size), max_bad)
        self._device = device
        self._threads = workers or default_workers()

    def _batches_from(self, epoch: int, step: int) -> Generator[ClipBatch]:
        pending: deque[tuple[int, int, list[tuple[int, ClipDraws, Future]]]] = deque()
        pool = ThreadPoolExecutor(self._threads)
        try:
            for number in itertools.count(epoch * self.steps_per_epoch + step):
                pending.append(self._submit(pool, *divmod(number, self.steps_per_epoch)))
                if len(pending) > _AHEAD:
                    yield self._collect(*pending.popleft())
        finally:  # does not wait: a forgotten source may be collected in one of these threads
            pool.shutdown(wait=False, cancel_futures=True)

    def _submit(
        self, pool: ThreadPoolExecutor, epoch: int, step: int
    ) -> tuple[int, int, list[tuple[int, ClipDraws, Future]]]:
        jobs = []
        for index in self.plan.indices(epoch, step):
            video, draws = self.plan.videos[index], self.plan.draws(epoch, index)
            jobs.append(
                (index, draws, pool.submit(load_clips, video, draws, self.plan.clip.size, self._device))
            )
        return epoch, step, jobs

    def _collect(self, epoch: int, step: int, jobs: list[tuple[int, ClipDraws, Future]]) -> ClipBatch:
        clips, indices, kept, failures = [], [], [], []
        for index, draws, job in jobs:
            try:
                clips.append(job.result())
            except BadVideo as error:
                failures.append((error.path, error.reason))
                continue
            indices.append(index)
            kept.append(draws)
        stacked = torch.cat(clips) if clips else torch.empty(0, dtype=torch.uint8)
        return collect(stacked, indices, kept, failures, epoch, step)
