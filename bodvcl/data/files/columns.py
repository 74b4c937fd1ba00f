"""One fact of many videos at once, from a list of videos or from a table of millions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from bodvcl.data.files.video import VideoInfo


@runtime_checkable
class Columns(Protocol):
    """Videos that are kept as columns; the functions below say what the methods return."""

    def taken(self, places: NDArray[Any]) -> Sequence[VideoInfo]:
        """See :func:`taken`."""

    def numbers(self, name: str) -> NDArray[Any]:
        """See :func:`numbers`."""

    def kinds(self, names: Sequence[str]) -> tuple[NDArray[Any], NDArray[Any]]:
        """See :func:`kinds`."""

    def label_names(self, column: str) -> set[str]:
        """See :func:`label_names`."""

    def paths(self) -> list[str]:
        """See :func:`paths`."""


def taken(videos: Sequence[VideoInfo], places: NDArray[Any]) -> Sequence[VideoInfo]:
    """The videos at some places.

    Args:
        videos: a list or a table; the result is of the same kind.
        places: numbers, or one bool for each video.
    """
    if isinstance(videos, Columns):
        return videos.taken(places)
    if places.dtype == bool:
        places = np.flatnonzero(places)
    return [videos[place] for place in places.tolist()]


def numbers(videos: Sequence[VideoInfo], name: str) -> NDArray[Any]:
    """A field or property that is a number or a bool, one for each video."""
    if isinstance(videos, Columns):
        return videos.numbers(name)
    return np.array([getattr(video, name) for video in videos])


def kinds(videos: Sequence[VideoInfo], names: Sequence[str]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Number the combinations of some fields (texts, numbers, bools) in the order in which they occur.

    Returns:
        For each video the number of its combination; for each combination the place of its first video.
    """
    if isinstance(videos, Columns):
        return videos.kinds(names)
    seen: dict[tuple[Any, ...], int] = {}
    first: list[int] = []
    codes = np.zeros(len(videos), np.int64)
    for place, video in enumerate(videos):
        codes[place] = seen.setdefault(tuple(getattr(video, name) for name in names), len(first))
        if codes[place] == len(first):
            first.append(place)
    return codes, np.array(first, np.int64)


def label_names(videos: Sequence[VideoInfo], column: str) -> set[str]:
    """The class names in a label column."""
    if isinstance(videos, Columns):
        return videos.label_names(column)
    return {video.labels[column] for video in videos if video.labels.get(column)}


def paths(videos: Sequence[VideoInfo]) -> list[str]:
    """The path of each video."""
    return videos.paths() if isinstance(videos, Columns) else [video.path for video in videos]


def where(videos: Sequence[VideoInfo], name: str, holds: Callable[[Any], bool]) -> NDArray[np.bool_]:
    """Bool (videos,): whether a field fulfils a condition."""
    codes, first = kinds(videos, [name])
    judged = np.array([holds(getattr(videos[place], name)) for place in first.tolist()], bool)
    found: NDArray[np.bool_] = judged[codes]
    return found


def counts(videos: Sequence[VideoInfo], *names: str) -> dict[Any, int]:
    """How many videos have each value of a field, in the order in which the values occur.

    With several fields the keys are tuples.
    """
    codes, first = kinds(videos, names)
    examples = [videos[place] for place in first.tolist()]
    values = [tuple(getattr(video, name) for name in names) for video in examples]
    each = np.bincount(codes, minlength=len(first)).tolist()
    return dict(zip(values if len(names) > 1 else [value for (value,) in values], each))
