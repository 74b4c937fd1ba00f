"""Which videos train a probe, and which test it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from bodvcl.data.files.video import VideoInfo
from bodvcl.data.sets import VideoRow
from bodvcl.data.sets.spans import Shown, Span
from bodvcl.data.sets.split_names import TEST, TRAIN, VAL, of_the_probe, split_role
from bodvcl.errors import DataError
from bodvcl.evaluate.labels import class_name
from bodvcl.text.words import counted, printable

_TESTING = (TEST, VAL)  # the first of these roles that labelled videos have tests


Video = TypeVar("Video", VideoInfo, VideoRow)
"""A video that has been scanned, or is only listed."""


class Labelled(Protocol):
    """What a division needs to know of a video, which may be scanned or only listed."""

    @property
    def path(self) -> str:
        """The file."""

    @property
    def name(self) -> str:
        """The path, and of a part of a file its seconds."""

    @property
    def split(self) -> str:
        """Name of its split, or ""."""

    @property
    def labels(self) -> Mapping[str, str]:
        """Label column to text."""

    @property
    def content(self) -> str:
        """Equal for videos with the same content; "" for a video that equals no other."""

    @property
    def span(self) -> Span | None:
        """The part of its file that it is; None where no video is a part of this file."""


@dataclass(frozen=True)
class Division:
    """The videos that take part in a probe, and their parts."""

    rows: NDArray[np.int64]
    """Numbers of these videos in the list, increasing."""
    train: NDArray[np.bool_] | None
    """Bool: which of these rows train, the others test. None: the data has no such splits, halves are
    drawn."""
    text: str
    """One line for the user."""


def divide(videos: Sequence[Labelled], seed: int = 0) -> Division:
    """Divide labelled videos by their splits.

    If there are splits for the probe (probe_train, ...), only those count. The split train trains; the
    split test, or else val, tests; other splits are left out. If no split is called train, those with names
    of unknown meaning train. Without a training or a test part, all videos take part, each once, and halves
    are drawn for each label column. :func:`~bodvcl.data.sets.split_names.canonical_split` reads the names.

    Args:
        videos: videos with their labels and splits.
        seed: seed of the halves, for the text; :func:`~bodvcl.evaluate.labels.halves` draws them.
    """
    labelled = [i for i, video in enumerate(videos) if any(map(class_name, video.labels.values()))]
    probe = [i for i in labelled if of_the_probe(videos[i].split)]
    candidates = probe or labelled
    roles = {
        role: [i for i in candidates if split_role(videos[i].split) == role]
        for role in (TRAIN, *_TESTING, "")
    }
    testing = next((roles[role] for role in _TESTING if roles[role]), [])
    training = roles[TRAIN]
    if not any(split_role(video.split) == TRAIN for video in videos):
        training = roles[""]
    if not training or not testing:
        once = _first_of_same(videos, candidates)
        drawn = f"half of each class trains and the other half tests, drawn with seed {seed}"
        if any(videos[i].span for i in once):
            drawn += "; parts of one file can be in both halves, which a column split prevents"
        return Division(np.array(once, dtype=np.int64), None, f"no train and test split: {drawn}")
    training = _first_of_same(videos, training)
    rows = np.array(sorted(training + testing), dtype=np.int64)
    left_out = Counter(videos[i].split or "no split" for i in set(range(len(videos))) - set(rows.tolist()))
    text = f"splits of the data: {_names(videos, training)} trains, {_names(videos, testing)} tests"
    if left_out:
        text += "; left out: " + ", ".join(f"{count} of {name}" for name, count in sorted(left_out.items()))
    return Division(rows, np.isin(rows, training), text)


def shared(videos: Sequence[Labelled], division: Division) -> list[tuple[int, int]]:
    """Pairs (test row, training row) of ``videos`` with the same content, or with some time of one file."""
    if division.train is None:
        return []
    trains = division.rows[division.train].tolist()
    shown = Shown(videos[row] for row in trains)
    found = ((row, shown.also(videos[row])) for row in division.rows[~division.train].tolist())
    return [(row, trains[number]) for row, number in found if number is not None]


def refuse_shared(videos: Sequence[Labelled], division: Division, shown: int = 3) -> None:
    """Refuse a division in which a video both trains and tests.

    Args:
        videos: videos that were divided.
        division: result of :func:`divide`.
        shown: largest number of pairs that the message names.

    Raises:
        DataError: a video, a link to it, a copy of it or a time of its file is in both parts.
    """
    pairs = [(videos[test], videos[train]) for test, train in shared(videos, division)]
    if not pairs:
        return
    named = [
        f"{printable(test.name)} ({test.split})"
        + ("" if test.name == train.name else f" {_relation(test)} {printable(train.name)} ({train.split})")
        for test, train in pairs[:shown]
    ]
    more = f" and {len(pairs) - shown} more" if len(pairs) > shown else ""
    raise DataError(
        f"{counted(len(pairs), 'video')} would both train and be tested on: {', '.join(named)}{more}; "
        "take them out of one of the two splits, or add --drop-overlap to test without them"
    )


def without_shared(videos: Sequence[Video], seed: int = 0) -> list[Video]:
    """The videos without those that would test although the same video also trains. Where no video is left in
    the split test, val tests, and is treated in the same way."""
    kept = list(videos)
    while dropped := {test for test, _ in shared(kept, divide(kept, seed))}:
        kept = [video for row, video in enumerate(kept) if row not in dropped]
    return kept


def label_columns(videos: Sequence[Labelled]) -> dict[str, list[str | None]]:
    """Label column, in order of appearance, to one value per video; ``None`` for a video without the
    label."""
    names = {name: None for video in videos for name in video.labels}
    return {name: [video.labels.get(name) for video in videos] for name in names}


def _relation(video: Labelled) -> str:
    return "is" if video.span is None else "is or overlaps with"


def _first_of_same(videos: Sequence[Labelled], rows: Sequence[int]) -> list[int]:
    kept = {videos[row].content or row: row for row in reversed(rows)}
    return sorted(kept.values())


def _names(videos: Sequence[Labelled], rows: Sequence[int]) -> str:
    counts = Counter(videos[i].split for i in rows)
    return " and ".join(f"{name or 'no split'} ({count:,} videos)" for name, count in counts.items())
