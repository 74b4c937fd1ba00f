"""Parts of files: which of them show the same time of the same file."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import NamedTuple, Protocol


class Span(NamedTuple):
    """A time of a file.

    Attributes:
        file: equal for equal files.
        start, end: from when to when, the end not included, in one unit for all spans of a file.
    """

    file: str
    start: float
    end: float


class Spanned(Protocol):
    """A video that may be a part of a file."""

    @property
    def content(self) -> str:
        """Equal for videos with the same content; "" for a video that equals no other."""

    @property
    def span(self) -> Span | None:
        """The part of its file that it is; None where no other video is a part of this file."""


class Shown:
    """What some videos show. :meth:`also` finds whether another one shows some of it.

    Args:
        videos: the videos.
    """

    def __init__(self, videos: Iterable[Spanned]) -> None:
        self._contents: dict[str, int] = {}
        parts: dict[str, list[tuple[float, float, int]]] = defaultdict(list)
        for number, video in enumerate(videos):
            if video.content:
                self._contents.setdefault(video.content, number)
            if video.span is not None:
                parts[video.span.file].append((video.span.start, video.span.end, number))
        self._starts: dict[str, list[float]] = {}
        self._longest: dict[str, list[tuple[float, int]]] = {}
        for file, found in parts.items():
            found.sort()
            self._starts[file] = [start for start, _, _ in found]
            self._longest[file] = list(accumulate(((end, number) for _, end, number in found), max))

    def also(self, video: Spanned) -> int | None:
        """Number of one of the videos that equals this one or overlaps with it; None: no one does."""
        if video.content in self._contents:
            return self._contents[video.content]
        if video.span is None or video.span.file not in self._starts:
            return None
        before = bisect_left(self._starts[video.span.file], video.span.end)
        if not before:
            return None
        end, number = self._longest[video.span.file][before - 1]  # the latest end of those that begin earlier
        return number if end > video.span.start else None


def files_of(videos: Sequence[Spanned]) -> set[str]:
    """The files that some of the videos are parts of."""
    return {video.span.file for video in videos if video.span is not None}
