"""Videos that a data set lists more than once: one per split is kept, and the others are reported."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace

from bodvcl.data.files.identity import same_files
from bodvcl.data.files.video import VideoInfo
from bodvcl.data.sets import VideoRow
from bodvcl.data.sets.spans import Span
from bodvcl.data.sets.split_names import TEST, TRAIN, VAL, split_role
from bodvcl.text.words import counted, printable

_SHOWN = 5  # other paths of a video to name, at most


@dataclass(frozen=True)
class Repeat:
    """One video that a data set has more than once.

    Attributes:
        path: its first path in the list.
        others: its other paths: the same path written differently, links, and byte-by-byte copies.
        splits: split to the number of times that it is listed there.
        disputed: label columns in which rows of one split have different labels.
    """

    path: str
    others: tuple[str, ...]
    splits: Mapping[str, int]
    disputed: tuple[str, ...]

    @property
    def trains_and_tests(self) -> bool:
        """Whether it is listed both for training and for testing."""
        roles = set(map(split_role, self.splits))
        return TRAIN in roles and bool({VAL, TEST} & roles)

    def __str__(self) -> str:
        times = ", ".join(f"{count} x {split or 'no split'}" for split, count in self.splits.items())
        also = f", also as {', '.join(map(printable, self.others[:_SHOWN]))}" if self.others else ""
        also += f" and {len(self.others) - _SHOWN:,} more" if len(self.others) > _SHOWN else ""
        disputed = f"; different labels: {', '.join(self.disputed)}" if self.disputed else ""
        return f"{printable(self.path)} ({times}){also}{disputed}"


def without_repeats(
    videos: Sequence[VideoInfo], first: Mapping[str, str]
) -> tuple[list[VideoInfo], list[Repeat]]:
    """Keep each video once per split, and report what was listed more than once.

    Of equal videos in a split, the first is kept. It gets labels that only another row has; a column in which
    rows have different labels becomes empty.

    Args:
        videos: in the order of the data set.
        first: for each path the first path with the same bytes, perhaps itself, as
            :func:`~bodvcl.data.files.identity.first_of_each` finds it.

    Returns:
        The videos that are kept, in order, with :attr:`VideoInfo.content` and :attr:`VideoInfo.span`; the
        repeats, in order.
    """
    cut = {first[video.path] for video in videos if video.whole is not None}
    if cut:
        videos = [_spanned(video, first[video.path], cut) for video in videos]
    rows: dict[str, dict[str, list[VideoInfo]]] = defaultdict(lambda: defaultdict(list))
    for video in videos:
        rows[_content(video, first)][video.split].append(video)
    repeats = {
        content: _repeat(by_split)
        for content, by_split in rows.items()
        if len(by_split) > 1 or len(next(iter(by_split.values()))) > 1
    }
    kept: list[VideoInfo] = []
    for video in videos:
        content = _content(video, first)
        same = rows[content][video.split]
        if content not in repeats:
            kept.append(video)
        elif video is same[0]:
            kept.append(replace(video, content=content, labels=_labels(same)[0]))
    return kept, list(repeats.values())


def marked_repeats(rows: Sequence[VideoRow]) -> list[VideoRow]:
    """The rows with :attr:`VideoRow.content` and :attr:`VideoRow.span` filled in.

    No file is opened, so copies are not found.
    """
    first = same_files(row.path for row in rows)
    cut = {first[row.path] for row in rows if row.segment is not None and row.path in first}
    spans = [_span(row, first[row.path]) if row.path in first else None for row in rows]
    counts = Counter(spans)
    return [
        row
        if span is None
        else replace(
            row,
            content=_named(span) if counts[span] > 1 else "",
            span=span if span.file in cut else None,
        )
        for row, span in zip(rows, spans)
    ]


def repeats_report(repeats: Sequence[Repeat]) -> list[str]:
    """Lines for the user: a heading, then one line per repeat; none without repeats."""
    if not repeats:
        return []
    rows = sum(sum(repeat.splits.values()) for repeat in repeats)
    both = sum(repeat.trains_and_tests for repeat in repeats)
    disputed = sum(bool(repeat.disputed) for repeat in repeats)
    heading = (
        f"listed more than once (same file, link or copy): {rows:,} entries are only "
        f"{counted(len(repeats), 'video')}; each counts once per split"
    )
    heading += f"; {both:,} both in train and in test" if both else ""
    heading += f"; {disputed:,} with different labels, which are ignored" if disputed else ""
    return [f"{heading}:", *map(str, repeats)]


def _span(row: VideoRow, file: str) -> Span:
    return (
        Span(file, 0.0, math.inf) if row.segment is None else Span(file, row.segment.start, row.segment.end)
    )


def _named(span: Span) -> str:
    """A text that is equal for equal spans; for a whole file its path."""
    return span.file if span.end == math.inf else f"{span.file} [{span.start!r}, {span.end!r})"


def _spanned(video: VideoInfo, file: str, cut: Set[str]) -> VideoInfo:
    return replace(video, span=Span(file, video.first, video.first + video.frames)) if file in cut else video


def _content(video: VideoInfo, first: Mapping[str, str]) -> str:
    """Equal for videos with the same bytes, and of these the same frames."""
    file = first[video.path]
    return file if video.whole is None else _named(Span(file, video.first, video.first + video.frames))


def _repeat(by_split: Mapping[str, Sequence[VideoInfo]]) -> Repeat:
    paths = dict.fromkeys(row.name for same in by_split.values() for row in same)
    disputed = (name for same in by_split.values() for name in _labels(same)[1])
    return Repeat(
        next(iter(paths)),
        tuple(paths)[1:],
        {split: len(same) for split, same in by_split.items()},
        tuple(dict.fromkeys(disputed)),
    )


def _labels(rows: Sequence[VideoInfo]) -> tuple[dict[str, str], list[str]]:
    """The labels on which the rows of one video agree, and the columns in which they do not."""
    told: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        for name, value in row.labels.items():
            told[name].update([value.strip()] if value.strip() else [])
    labels = {name: next(iter(values)) if len(values) == 1 else "" for name, values in told.items()}
    return labels, [name for name, values in told.items() if len(values) > 1]
