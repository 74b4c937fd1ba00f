"""Batches of clips, decoded in worker processes, in an order that is a function of (seed, epoch, step)."""

from __future__ import annotations

import itertools
import logging
import math
import signal
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from bodvcl.config import AugmentConfig, ClipConfig
from bodvcl.data.augment import crop_resize
from bodvcl.data.batch import ClipBatch, ClipParams
from bodvcl.data.clips import ClipDraws, draw_clips, evaluation_draws
from bodvcl.data.failures import BadFiles
from bodvcl.data.order import check_share, epoch_order, step_videos
from bodvcl.data.pool import Note, WorkerDied, WorkerPool
from bodvcl.data.video import BadVideo, VideoInfo, read_frames
from bodvcl.data.workers import available_cores
from bodvcl.errors import DataError

logger = logging.getLogger(__name__)

_PREFETCH = 2  # batches that each worker prepares ahead
_CRASHES = {signal.SIGSEGV, signal.SIGABRT, signal.SIGFPE, signal.SIGILL}  # a decoder's own fault


def default_workers() -> int:
    """One decoding process per core, less one for the training, at most 16."""
    return max(1, min(16, available_cores() - 1))


def decode_size(info: VideoInfo, clip: ClipConfig, smallest_crop: float) -> tuple[int, int]:
    """(height, width) to decode to: no larger than the smallest crop needs to have `clip.size` pixels a side.

    Args:
        info: the video.
        clip: gives the clip's size.
        smallest_crop: share of the frame area that the smallest crop covers.
    """
    short = min(info.height, info.width)
    scale = min(1.0, math.ceil(clip.size / math.sqrt(smallest_crop)) / short)
    return max(round(info.height * scale), 1), max(round(info.width * scale), 1)


def load_clips(
    info: VideoInfo, draws: ClipDraws, clip: ClipConfig, smallest_crop: float, out: Tensor
) -> None:
    """Decode, crop and resize all clips of one video, opening it once, into `out`: uint8 (views, L, S, S, 3).

    Raises:
        BadVideo: a frame cannot be decoded.
    """
    views, length = draws.frames.shape
    frames = read_frames(info, draws.frames.reshape(-1), decode_size(info, clip, smallest_crop))
    for view, frames_of_view in enumerate(frames.reshape(views, length, *frames.shape[1:])):
        out[view] = crop_resize(frames_of_view, draws.boxes[view], clip.size)


def _assemble(
    videos: Sequence[VideoInfo],
    indices: Sequence[int],
    draw: Callable[[int], ClipDraws],
    clip: ClipConfig,
    smallest_crop: float,
    unusable: Mapping[int, str],
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
            load_clips(videos[index], draws, clip, smallest_crop, clips[place : place + views])
        except BadVideo as error:
            failures.append((error.path, error.reason))
            continue
        loaded.append(draws)
        ids.append(index)
    if not loaded:
        empty = torch.empty(0)
        return ClipBatch(clips[:0], ClipParams(empty, empty, empty), empty, empty, failures=tuple(failures))

    def rows(name: str) -> Tensor:
        return torch.from_numpy(np.concatenate([getattr(draws, name) for draws in loaded]))

    return ClipBatch(
        clips=clips[: len(ids) * views],
        params=ClipParams(rows("colour"), rows("flip"), rows("sigma")),
        videos=torch.tensor(ids),
        frames=rows("frames"),
        failures=tuple(failures),
    )


class _Batches:
    """Maps (epoch, step) to its batch. It does not matter which process is asked.

    Attributes:
        unusable: number to reason of the videos that may not be opened: they crash or hang their reader.
    """

    def __init__(
        self,
        videos: Sequence[VideoInfo],
        clip: ClipConfig,
        augment: AugmentConfig,
        batch_size: int,
        seed: int,
        rank: int,
        world_size: int,
    ) -> None:
        self.videos = videos
        self.clip = clip
        self.augment = augment
        self.batch_size = batch_size
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.unusable: dict[int, str] = {}

    def indices(self, address: tuple[int, int]) -> list[int]:
        """Numbers of the videos of this process's share of a batch."""
        epoch, step = address
        order = epoch_order(self.seed, epoch, len(self.videos))
        return step_videos(order, step, self.batch_size, self.rank, self.world_size).tolist()

    def __call__(self, address: tuple[int, int], note: Note) -> ClipBatch:
        epoch, step = address

        def draw(index: int) -> ClipDraws:
            note(index)
            return draw_clips(
                self.videos[index], self.clip, self.augment, seed=self.seed, epoch=epoch, index=index
            )

        batch = _assemble(
            self.videos, self.indices(address), draw, self.clip, self.augment.crop_area[0], self.unusable
        )
        return replace(batch, epoch=epoch, step=step)


class ClipLoader:
    """Training batches of `batch_size` videos with `clip.views` clips each; an incomplete one is dropped.

    The batches of an epoch, and everything drawn for them, are functions of (seed, epoch, step): the
    number of workers and where a run was resumed change nothing. With several processes, each yields its
    contiguous share of every global batch, in the order of ranks; their number changes nothing else.

    A file that cannot be read, crashes its worker or takes longer than `timeout` is logged once, and the
    batch that should have held it is smaller.

    Raises:
        DataError: more videos per batch than there are videos.
        ConfigError: a batch that the processes cannot share equally.
        ValueError: fewer than two videos per batch, or a rank outside of the world.
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
    ) -> None:
        """
        Args:
            videos: what to draw from; a video's number is its place here.
            clip: how clips are cut.
            augment: how they are augmented.
            batch_size: videos per global batch.
            seed: seed of the order and of all draws.
            workers: decoding processes. 0: decode in this process. None: by the number of cores.
            rank, world_size: this process among those that train together.
            timeout: seconds that one video may take; its worker is then replaced and the file counts as
                unreadable. None: no limit. Without workers there is none either.
            max_bad: share of the videos that may turn out to be unreadable.
        """
        check_share(batch_size, rank, world_size)
        if batch_size < 2:
            raise ValueError(
                f"batch_size is {batch_size}; expected 2 or more, other videos are the negatives"
            )
        if batch_size > len(videos):
            raise DataError(
                f"a batch of {batch_size} videos cannot be filled from {len(videos)} usable videos; "
                f"lower --batch-size to {len(videos)} or less, or add videos"
            )
        self.videos = videos
        self.batch_size = batch_size
        self.steps_per_epoch = len(videos) // batch_size
        self.workers = default_workers() if workers is None else workers
        self._timeout = timeout
        self._bad = BadFiles(len(videos), max_bad)
        self._share = batch_size // world_size
        self._fewest = 2 if world_size == 1 else 1
        self._batches = _Batches(videos, clip, augment, batch_size, seed, rank, world_size)
        self._stream: Generator[ClipBatch] | None = None
        self._next: tuple[int, int] | None = None

    @property
    def failed(self) -> dict[str, str]:
        """Path to reason of every file that could not be read so far."""
        return self._bad.failed

    def epoch(self, epoch: int, start_step: int = 0) -> Iterator[ClipBatch]:
        """Batches start_step .. steps_per_epoch - 1 of an epoch, in order.

        The workers go on into the next epoch, so that asking for it costs no wait.

        Raises:
            DataError: so many files of a batch are unreadable that fewer than two videos are left (with
                several processes: none in this process's share), more than `max_bad` of all files are, or
                a decoding process died and no file is to blame.
        """
        for step in range(start_step, self.steps_per_epoch):
            if self._stream is None or self._next != (epoch, step):
                self.close()
                self._stream = self._batches_from(epoch, step)
            self._next = (epoch, step + 1) if step + 1 < self.steps_per_epoch else (epoch + 1, 0)
            yield self._checked(next(self._stream))

    def _batches_from(self, epoch: int, step: int) -> Generator[ClipBatch]:
        """All batches from a place on, without end."""
        first = epoch * self.steps_per_epoch + step
        if self.workers == 0:
            for number in itertools.count(first):
                yield self._batches(divmod(number, self.steps_per_epoch), lambda index: None)
        while True:  # again, with new workers, after each file that cost one
            with WorkerPool(self._batches, self.workers, self._timeout) as pool:
                for number in itertools.count(first):
                    pool.submit(divmod(number, self.steps_per_epoch))
                    if len(pool) <= _PREFETCH * self.workers:
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
        held = f"; it was reading {self.videos[death.note].path}" if death.note >= 0 else ""
        epoch, step = death.task
        return DataError(
            f"a decoding process died ({how}) at step {step} of epoch {epoch}{held}; either memory or "
            f"/dev/shm ran out (lower --workers or --batch-size) or this file crashes the decoder (remove it)"
        )

    def _checked(self, batch: ClipBatch) -> ClipBatch:
        self._bad.add(batch.failures)
        if len(batch.videos) < self._fewest:
            path, reason = batch.failures[0]
            raise DataError(
                f"only {len(batch.videos)} of {self._share} videos of a batch can be read; "
                f"for example {path}: {reason}; check that the data is still there"
            )
        self._bad.check()
        return batch

    def close(self) -> None:
        """End the worker processes. The loader can still be used; it starts new ones."""
        if self._stream is not None:
            self._stream.close()
        self._stream = self._next = None


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
