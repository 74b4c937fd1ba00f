"""The clips of rows, decoded in worker processes: neighbouring windows in one pass over their frames."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from bodvcl.config.schema import ClipConfig
from bodvcl.data.clips.augment import crop_resize
from bodvcl.data.clips.batch import ClipBatch
from bodvcl.data.clips.draws import ClipDraws, evaluation_draws
from bodvcl.data.clips.plan import collect
from bodvcl.data.files.reading import stream_frames
from bodvcl.data.files.video import BadVideo, VideoInfo
from bodvcl.data.sources.pyav_clips import decode_size
from bodvcl.data.workers.pool import Note
from bodvcl.embed.rows import Rows
from bodvcl.evaluate.reading import in_order


class Task(NamedTuple):
    """Rows that are read together: those from ``start`` to ``stop - 1``."""

    start: int
    stop: int


def read_rows(
    videos: Sequence[VideoInfo], rows: Rows, clip: ClipConfig, clips: int, tasks: Sequence[Task], workers: int
) -> Iterator[ClipBatch]:
    """One batch for each task, in order.

    Args:
        videos: the videos.
        rows: which parts of them.
        clip: length, stride and size.
        clips: clips of every row, spread evenly over it; they are neighbours in the batch.
        tasks: rows that are read together.
        workers: decoding processes. 0: decode in this process.

    Yields:
        Batches; ``batch.videos`` are the numbers of their rows. Rows that cannot be read are left out,
        perhaps all, and ``batch.failures`` has them.

    Raises:
        DataError: a decoding process died.
    """

    def ends(task: Task) -> tuple[str, str]:
        numbers = rows.video[[task.start, task.stop - 1]].tolist()
        return videos[numbers[0]].path, videos[numbers[1]].path

    yield from in_order(_Read(videos, rows, clip, clips), tasks, min(workers, len(tasks)), ends)


class _Read:
    """Maps a task to the clips of its rows."""

    def __init__(self, videos: Sequence[VideoInfo], rows: Rows, clip: ClipConfig, clips: int) -> None:
        self.videos, self.rows, self.clip, self.clips = videos, rows, clip, clips

    def __call__(self, task: Task, note: Note) -> ClipBatch:
        note(task.start)
        rows, size = self.rows, self.clip.size
        out = torch.empty(
            ((task.stop - task.start) * self.clips, self.clip.frames, size, size, 3), dtype=torch.uint8
        )
        read: list[int] = []
        draws: list[ClipDraws] = []
        failures: list[tuple[str, str]] = []
        for number, group in itertools.groupby(
            range(task.start, task.stop), lambda row: int(rows.video[row])
        ):
            info = self.videos[number]
            wanted = {row: self._draws(info, row) for row in group}
            try:
                self._load(info, list(wanted.values()), out[len(read) * self.clips :])
            except BadVideo as whole:
                if len(wanted) == 1:
                    failures.append((whole.path, whole.reason))
                    continue
                wanted = self._one_by_one(info, wanted, out[len(read) * self.clips :], failures)
            read += wanted
            draws += wanted.values()
        return collect(out[: len(read) * self.clips], read, draws, failures)

    def _draws(self, info: VideoInfo, row: int) -> ClipDraws:
        first, stop = int(self.rows.first[row]), int(self.rows.stop[row])
        return evaluation_draws(info, self.clip, self.clips, first=first, stop=stop)

    def _load(self, info: VideoInfo, draws: Sequence[ClipDraws], out: Tensor) -> None:
        frames = np.concatenate([draw.frames for draw in draws])
        load_in_order(info, frames, draws[0].boxes[0], self.clip, out)

    def _one_by_one(
        self,
        info: VideoInfo,
        wanted: dict[int, ClipDraws],
        out: Tensor,
        failures: list[tuple[str, str]],
    ) -> dict[int, ClipDraws]:
        """The rows of a damaged video that can be read."""
        kept: dict[int, ClipDraws] = {}
        for row, draws in wanted.items():
            try:
                self._load(info, [draws], out[len(kept) * self.clips :])
                kept[row] = draws
            except BadVideo as error:
                failures.append((error.path, f"at {self.rows.start[row]:.2f} s: {error.reason}"))
        return kept


def load_in_order(
    info: VideoInfo, frames: np.ndarray, box: np.ndarray, clip: ClipConfig, out: Tensor
) -> None:
    """Decode, crop and resize clips of one video in one pass; only frames of unfinished clips are in memory.

    Args:
        info: the video.
        frames: int64 ``(clips, L)``: frame numbers of each clip.
        box: ``(4,)``, the crop, as in :func:`~bodvcl.data.clips.augment.crop_resize`.
        clip: the size of the clips.
        out: uint8 ``(clips or more, L, S, S, 3)``; its first ``clips`` are filled in.

    Raises:
        BadVideo: a frame cannot be decoded.
    """
    numbers: list[int] = np.unique(frames).tolist()
    clips: list[list[int]] = frames.tolist()
    pending = deque(sorted(range(len(clips)), key=lambda place: max(clips[place])))
    held: dict[int, np.ndarray] = {}
    for number, image in zip(numbers, stream_frames(info, numbers, decode_size(info, clip, 1.0))):
        held[number] = image
        while pending and max(clips[pending[0]]) <= number:
            wanted = clips[place := pending.popleft()]
            out[place] = crop_resize(np.stack([held[n] for n in wanted]), box, clip.size)
            first = min((min(clips[place]) for place in pending), default=number + 1)
            held = {n: kept for n, kept in held.items() if n >= first}
