"""A batch cut into parts, and the bi-level problem of each part."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import fields, replace

from bodvcl.data.clips.batch import ClipBatch, ClipParams
from bodvcl.engine.problem import BatchProblem
from bodvcl.engine.replay import Replay


def videos_of(batch: ClipBatch, first: int, last: int, views: int) -> ClipBatch:
    """The videos ``first .. last - 1`` of a batch, with all of their clips.

    Args:
        batch: clips, sorted by video.
        first: index of the first video.
        last: index after the last video.
        views: clips per video.
    """
    if (first, last) == (0, len(batch.videos)):
        return batch
    rows = slice(first * views, last * views)
    params = ClipParams(*(getattr(batch.params, f.name)[rows] for f in fields(ClipParams)))
    return replace(
        batch,
        clips=batch.clips[rows],
        params=params,
        videos=batch.videos[first:last],
        frames=batch.frames[rows],
    )


def parts_of(batch: ClipBatch, count: int, views: int) -> list[ClipBatch]:
    """A batch cut into parts of whole videos, of sizes as equal as possible.

    Args:
        batch: clips, sorted by video.
        count: number of parts; there are fewer where a part would have less than two videos.
        views: clips per video.
    """
    videos, count = len(batch.videos), _count(batch, count)
    ends = [part * videos // count for part in range(count + 1)]
    return [videos_of(batch, first, last, views) for first, last in itertools.pairwise(ends)]


def _count(batch: ClipBatch, wanted: int) -> int:
    return max(1, min(wanted, len(batch.videos) // 2))


class PartProblems:
    """The problems of the parts of a batch, made one by one: only one part's clips are there as floats.

    Iterating gives ``(share, problem)`` for each part; the shares sum to 1.

    Args:
        batch: clips of this rank.
        parts: number of parts.
        views: clips per video.
        make: makes the problem of a part.
    """

    def __init__(
        self, batch: ClipBatch, parts: int, views: int, make: Callable[[ClipBatch], BatchProblem]
    ) -> None:
        self._batch, self._parts, self._views, self._make = batch, parts, views, make
        self._first: Replay | None = None

    def __len__(self) -> int:
        return _count(self._batch, self._parts)

    def __iter__(self) -> Iterator[tuple[float, BatchProblem]]:
        for part in parts_of(self._batch, self._parts, self._views):
            problem = self._make(part)
            if self._first is None:
                self._first = problem.replay
            yield len(part.videos) / len(self._batch.videos), problem

    def undo(self) -> None:
        """Restore the learner's buffers and the random draws to their states before the first part, if there
        was one yet."""
        if self._first is not None:
            self._first.undo()
