"""Clips of whole data sets for an encoder: decoded, and changed by a control, in worker processes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TypeVar

import torch

from bodvcl.config.schema import ClipConfig
from bodvcl.data.clips.batch import ClipBatch
from bodvcl.data.files.video import VideoInfo
from bodvcl.data.sources.evaluation import evaluation_clips
from bodvcl.data.workers.pool import Note, WorkerDied, WorkerPool
from bodvcl.data.workers.process import default_workers
from bodvcl.errors import DataError
from bodvcl.evaluate.controls import Control

Task = TypeVar("Task")
Result = TypeVar("Result")

FRAMES_AT_ONCE = 512
"""Approximate number of frames in a batch."""


def read_clips(
    videos: Sequence[VideoInfo],
    clip: ClipConfig,
    *,
    clips_per_video: int,
    control: Control | None = None,
    workers: int | None = None,
    crops: int = 1,
) -> Iterator[ClipBatch]:
    """Clips spread evenly over each video, in the order of the videos.

    Args:
        videos: videos to read.
        clip: length, stride and size; ``clip.views`` is not used.
        clips_per_video: clips of each video; they are neighbours in the batch.
        control: what is done to the clips. None: nothing.
        workers: decoding processes. 0: decode in this process. None: chosen from the number of
            cores.
        crops: squares along the longer side of the frame, for each clip; 1: the centred one.

    Yields:
        Batches; ``batch.videos`` are the numbers of their videos in the list. A file that cannot be read is
        logged and left out.

    Raises:
        DataError: a decoding process died.
    """
    decoded = clip if control is None else control.decoded(clip)
    size = max(1, FRAMES_AT_ONCE // (decoded.frames * clips_per_video * crops))
    tasks = [(start, min(start + size, len(videos))) for start in range(0, len(videos), size)]
    on_workers = control if control is not None and control.on_workers else None
    read = _Read(videos, decoded, clips_per_video, crops, on_workers)
    workers = min(default_workers() if workers is None else workers, len(tasks))

    def places(task: tuple[int, int]) -> tuple[str, str]:
        return videos[task[0]].path, videos[task[1] - 1].path

    for batch in in_order(read, tasks, workers, places):
        if batch is not None:
            yield batch if control is None or control.on_workers else _controlled(batch, control)


class _Read:
    """Maps (start, stop) to the clips of these videos; to None if none of them can be read."""

    def __init__(
        self,
        videos: Sequence[VideoInfo],
        clip: ClipConfig,
        clips_per_video: int,
        crops: int,
        control: Control | None,
    ) -> None:
        self.videos = videos
        self.clip = clip
        self.clips_per_video = clips_per_video
        self.crops = crops
        self.control = control

    def __call__(self, task: tuple[int, int], note: Note) -> ClipBatch | None:
        start, stop = task
        note(start)
        chosen = self.videos[start:stop]
        batches = evaluation_clips(
            chosen,
            self.clip,
            clips_per_video=self.clips_per_video,
            batch_size=len(chosen),
            crops=self.crops,
        )
        batch = next(batches, None)
        if batch is None:
            return None
        batch = replace(batch, videos=batch.videos + start)
        return batch if self.control is None else _controlled(batch, self.control)


def _controlled(batch: ClipBatch, control: Control) -> ClipBatch:
    clips = batch.clips.unflatten(0, (len(batch.videos), -1)).numpy()
    made = [torch.from_numpy(control(frames, int(n))) for frames, n in zip(clips, batch.videos)]
    return replace(batch, clips=torch.cat(made))


def in_order(
    read: Callable[[Task, Note], Result],
    tasks: Iterable[Task],
    workers: int,
    ends: Callable[[Task], tuple[str, str]],
) -> Iterator[Result]:
    """``read(task, note)`` of each task, in order, done by processes while the results before it are used.

    Args:
        read: what the processes do; it is sent to them.
        tasks: what is read, one result each.
        workers: number of processes. 0: this one.
        ends: paths of the first and the last video of a task, for messages.

    Raises:
        DataError: a process died.
    """
    if workers == 0:
        yield from (read(task, lambda _: None) for task in tasks)
        return
    with WorkerPool(read, workers) as pool:
        try:
            for task in tasks:
                pool.submit(task)
                if len(pool) > 2 * workers:
                    yield pool.receive()
            while len(pool):
                yield pool.receive()
        except WorkerDied as death:
            first, last = ends(death.task)
            raise DataError(
                f"a decoding process died while reading one of the files from {first} to {last}; memory ran "
                "out (lower --workers) or a file crashes the decoder (remove it)"
            ) from None
