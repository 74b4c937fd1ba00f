"""Batches of clips, decoded in worker processes, in an order that is a function of (seed, epoch, step)."""

from __future__ import annotations

import itertools
import logging
import math
import signal
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from bodvcl.config.schema import AugmentConfig, ClipConfig
from bodvcl.data.clips.augment import crop_resize
from bodvcl.data.clips.batch import ClipBatch
from bodvcl.data.clips.draws import ClipDraws, evaluation_draws
from bodvcl.data.clips.plan import ClipPlan, collect
from bodvcl.data.files.video import BadVideo, VideoInfo, read_frames
from bodvcl.data.sources.base import BatchStream
from bodvcl.data.sources.kept_frames import KeptFrames
from bodvcl.data.workers.pool import Note, WorkerDied, WorkerPool
from bodvcl.data.workers.process import available_cores
from bodvcl.errors import DataError

logger = logging.getLogger(__name__)

_PREFETCH = 2  # batches that each worker prepares ahead
_REDUCE = 0.25  # scale below which decoding to a reduced size is faster, measured from 256 to 720 lines
_CRASHES = {signal.SIGSEGV, signal.SIGABRT, signal.SIGFPE, signal.SIGILL}  # a decoder's own fault


def default_workers() -> int:
    """One decoding process per core, less one for the training, at most 16."""
    return max(1, min(16, available_cores() - 1))


def decode_size(info: VideoInfo, clip: ClipConfig, smallest_crop: float) -> tuple[int, int]:
    """(height, width) to decode to: the video's own size, unless a quarter of it is enough for every crop.

    FFmpeg converts a frame at its own size ten times faster than it converts and scales it, so reducing pays
    only for very large videos.

    Args:
        info: the video.
        clip: gives the clip's size.
        smallest_crop: share of the frame area that the smallest crop covers.
    """
    needed = math.ceil(clip.size / math.sqrt(smallest_crop))
    scale = needed / min(info.height, info.width)
    if scale > _REDUCE:
        return info.height, info.width
    return max(round(info.height * scale), 1), max(round(info.width * scale), 1)


def load_clips(
    info: VideoInfo,
    draws: ClipDraws,
    clip: ClipConfig,
    smallest_crop: float,
    out: Tensor,
    read: Callable[..., np.ndarray] = read_frames,
) -> None:
    """Decode, crop and resize all clips of one video, opening it once, into `out`: uint8 (views, L, S, S, 3).

    ``read`` stands for :func:`~bodvcl.data.files.video.read_frames`.

    Raises:
        BadVideo: a frame cannot be decoded.
    """
    views, length = draws.frames.shape
    frames = read(info, draws.frames.reshape(-1), decode_size(info, clip, smallest_crop))
    for view, frames_of_view in enumerate(frames.reshape(views, length, *frames.shape[1:])):
        out[view] = crop_resize(frames_of_view, draws.boxes[view], clip.size)


def _assemble(
    videos: Sequence[VideoInfo],
    indices: Sequence[int],
    draw: Callable[[int], ClipDraws],
    clip: ClipConfig,
    smallest_crop: float,
    unusable: Mapping[int, str],
    epoch: int = 0,
    step: int = 0,
    read: Callable[..., np.ndarray] = read_frames,
) -> ClipBatch:
    """Read the clips of some videos; unreadable ones are left out and listed in `failures`."""
    loaded: list[ClipDraws] = []
    ids: list[int] = []
    failures: list[tuple[str, str]] = []
    clips = torch.empty(0, dtype=torch.uint8)
    for index in indices:
        draws = draw(index)
        views, length = draws.frames.shape
        if not len(clips):
            clips = torch.empty((len(indices) * views, length, clip.size, clip.size, 3), dtype=torch.uint8)
        place = len(ids) * views
        try:
            if index in unusable:
                raise BadVideo(videos[index].path, unusable[index])
            load_clips(videos[index], draws, clip, smallest_crop, clips[place : place + views], read)
        except BadVideo as error:
            failures.append((error.path, error.reason))
            continue
        loaded.append(draws)
        ids.append(index)
    return collect(clips[: len(ids) * views], ids, loaded, failures, epoch, step)


class _Batches:
    """Maps (epoch, step) to its batch. It does not matter which process is asked.

    Attributes:
        unusable: number to reason of the videos that may not be opened: they crash or hang their reader.
    """

    def __init__(self, plan: ClipPlan, keep: float) -> None:
        self.plan = plan
        self._read = KeptFrames(int(keep * 1e9))
        self.unusable: dict[int, str] = {}

    def __call__(self, address: tuple[int, int], note: Note) -> ClipBatch:
        plan, (epoch, step) = self.plan, address

        def draw(index: int) -> ClipDraws:
            note(index)
            return plan.draws(epoch, index)

        return _assemble(
            plan.videos,
            plan.indices(epoch, step),
            draw,
            plan.clip,
            plan.augment.crop_area[0],
            self.unusable,
            epoch,
            step,
            self._read,
        )


class ClipLoader(BatchStream):
    """Decodes with PyAV in worker processes; exact on every format.

    The number of workers, and where a run was resumed, change nothing. A file that crashes its worker or
    takes longer than `timeout` is left out like one that cannot be read.

    Raises:
        DataError, ConfigError, ValueError: see :class:`~bodvcl.data.clips.plan.ClipPlan`.
    """

    def __init__(
        self,
        videos: Sequence[VideoInfo],
        clip: ClipConfig,
        augment: AugmentConfig,
        *,
        batch_size: int,
        seed: int,
        workers: int | None = None,
        rank: int = 0,
        world_size: int = 1,
        timeout: float | None = None,
        max_bad: float = 0.01,
        keep: float = 0.0,
    ) -> None:
        """
        Args:
            videos, clip, augment, batch_size, seed, rank, world_size: see
                :class:`~bodvcl.data.clips.plan.ClipPlan`.
            workers: decoding processes. 0: decode in this process. None: by the number of cores.
            timeout: seconds that one video may take; its worker is then replaced and the file counts as
                unreadable. None: no limit. Without workers there is none either.
            max_bad: share of the videos that may turn out to be unreadable.
            keep: gigabytes per process for :class:`~bodvcl.data.sources.kept_frames.KeptFrames`.
        """
        super().__init__(ClipPlan(videos, clip, augment, batch_size, seed, rank, world_size), max_bad)
        self._workers = default_workers() if workers is None else workers
        self._timeout = timeout
        self._batches = _Batches(self.plan, keep)

    def _batches_from(self, epoch: int, step: int) -> Generator[ClipBatch]:
        first = epoch * self.steps_per_epoch + step
        if self._workers == 0:
            for number in itertools.count(first):
                yield self._batches(divmod(number, self.steps_per_epoch), lambda index: None)
        while True:  # again, with new workers, after each file that cost one
            with WorkerPool(self._batches, self._workers, self._timeout) as pool:
                for number in itertools.count(first):
                    pool.submit(divmod(number, self.steps_per_epoch))
                    if len(pool) <= _PREFETCH * self._workers:
                        continue
                    try:
                        batch = pool.receive()
                    except WorkerDied as death:
                        self._blame(death)
                        break
                    first += 1
                    yield batch

    def _blame(self, death: WorkerDied) -> None:
        """Never open the file again that a worker was lost to; without such a file the run ends."""
        signal_number = -(death.exitcode or 0)
        if death.note >= 0 and death.hung:
            reason = f"not decoded within {self._timeout:g} seconds (--decode.timeout)"
        elif death.note >= 0 and signal_number in _CRASHES:
            reason = f"crashes the decoder ({signal.Signals(signal_number).name})"
        else:
            raise self._death_notice(death) from None
        self._batches.unusable[death.note] = reason

    def _death_notice(self, death: WorkerDied) -> DataError:
        code = death.exitcode
        how = f"killed by signal {signal.Signals(-code).name}" if code and code < 0 else f"exit code {code}"
        held = f"; it was reading {self.plan.videos[death.note].path}" if death.note >= 0 else ""
        epoch, step = death.task
        return DataError(
            f"a decoding process died ({how}) at step {step} of epoch {epoch}{held}; either memory or "
            f"/dev/shm ran out (lower --workers or --batch-size) or this file crashes the decoder (remove it)"
        )


def evaluation_clips(
    videos: Sequence[VideoInfo],
    clip: ClipConfig,
    *,
    clips_per_video: int = 1,
    batch_size: int = 32,
) -> Iterator[ClipBatch]:
    """The same clips every time: evenly spread over each video, centre crop, no colour change; decoded here.

    Args:
        videos: visited in this order; the last batch may be smaller.
        clip: length, stride, size; `clip.views` is not used.
        clips_per_video: clips per video, neighbours in the batch.
        batch_size: videos per batch.

    Yields:
        Batches; `batch.videos` says which videos they hold. A file that cannot be read is logged and left
        out.
    """
    for start in range(0, len(videos), batch_size):
        indices = range(start, min(start + batch_size, len(videos)))

        def draw(index: int) -> ClipDraws:
            return evaluation_draws(videos[index], clip, clips_per_video)

        batch = _assemble(videos, indices, draw, clip, 1.0, {})
        for path, reason in batch.failures:
            logger.warning("left out of the evaluation, unreadable: %s: %s", path, reason)
        if len(batch.videos):
            yield batch
