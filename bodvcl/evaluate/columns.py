"""Which columns of a data set are labels that can be probed, and why others cannot."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bodvcl.data.files.video import VideoInfo
from bodvcl.evaluate.labels import class_name, class_task, halves, only_in
from bodvcl.evaluate.several import classes_in, several_task
from bodvcl.evaluate.splits import Division, Video, divide, label_columns
from bodvcl.text.words import plain

_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?|[+-]?(nan|inf(inity)?)", re.IGNORECASE)
_CLOCK = r"\d{1,2}:\d\d(:\d\d)?([.,]\d+)?"
_DATE = re.compile(
    rf"(\d{{4}}([-./])\d\d?\2\d\d?|\d\d?([-./])\d\d?\3\d{{4}})([ T]{_CLOCK}\s*(Z|[+-]\d\d:?\d\d)?)?|{_CLOCK}"
)
_NAMED = 3
"""Largest number of classes that a reason names."""


@dataclass(frozen=True)
class LabelChoice:
    """Columns to probe, and which videos train and test.

    Attributes:
        division: the videos that have a label, and which of them train and test.
        labels: column to one value for each row of the division; ``None`` for a video without this label.
        left_out: column that is not probed to the reason.
    """

    division: Division
    labels: dict[str, list[str | None]]
    left_out: dict[str, str]


def choose_labels(
    videos: Sequence[VideoInfo], wanted: Sequence[str] = (), seed: int = 0, separator: str | None = None
) -> LabelChoice:
    """Choose what can be probed, and divide the videos by it.

    Args:
        videos: videos with their labels and splits.
        wanted: columns to probe; unknown ones are ignored. One of them is left out only if it cannot be
            probed. Empty: every column that looks like a label.
        seed: seed of drawn halves, see :func:`~bodvcl.evaluate.splits.divide`.
        separator: text between several classes of a label; None: a label is one class.
    """
    columns = label_columns(videos)
    reasons = {} if wanted else {name: unlike_label(values) for name, values in columns.items()}
    names = [name for name in dict.fromkeys(wanted or columns) if name in columns and not reasons.get(name)]
    division = divide(with_labels(videos, names), seed)
    labels = {name: [columns[name][row] for row in division.rows] for name in names}
    reasons |= {name: impossible(values, division.train, seed, separator) for name, values in labels.items()}
    return LabelChoice(
        division,
        {name: values for name, values in labels.items() if reasons[name] is None},
        {name: reason for name in columns if (reason := reasons.get(name)) is not None},
    )


def with_labels(videos: Sequence[Video], names: Iterable[str]) -> list[Video]:
    """The videos, each with only these label columns."""
    kept = set(names)
    return [
        replace(video, labels={name: value for name, value in video.labels.items() if name in kept})
        for video in videos
    ]


def unlike_label(values: Sequence[Any]) -> str | None:
    """Why the values of a column do not look like classes; None if they do.

    This is a guess for columns that the user did not name. Values that most videos have for themselves
    (names, numbers, captions), numbers with a fraction, dates and times do not look like classes.

    Args:
        values: values that :func:`~bodvcl.evaluate.labels.class_name` takes.
    """
    counts = Counter(name for name in map(class_name, values) if name is not None)
    total, once = counts.total(), sum(count == 1 for count in counts.values())
    if not counts:
        return "no video has this label"
    if len(counts) == 1:
        return "all videos have the same label"
    if once == total:
        return f"each of {total:,} videos has a value of its own"
    if 2 * once > total:
        return f"{once:,} of {total:,} videos have a value of their own"
    if all(map(_NUMBER.fullmatch, counts)):
        fraction = next((name for name in counts if not _whole(name)), None)
        if fraction is not None:
            return f"numbers with a fraction, such as {plain(fraction)}, look like a measurement"
    if all(map(_DATE.fullmatch, counts)):
        return f"dates or times, such as {plain(next(iter(counts)))}"
    return None


def impossible(
    values: Sequence[Any], train: NDArray[np.bool_] | None, seed: int = 0, separator: str | None = None
) -> str | None:
    """Why a column cannot be probed; None if it can.

    Args:
        values: one value per video.
        train: ``(videos,)``: videos that train; the others test. None: halves are drawn.
        seed: seed of these halves.
        separator: text between several classes of a label; None: a label is one class.
    """
    known = values if separator is None else [class_name(value) and "known" for value in values]
    part = halves(known, seed) if train is None else train
    trained, tested = ([values[row] for row in np.flatnonzero(chosen).tolist()] for chosen in (part, ~part))
    if separator is not None:
        skipped = several_task(trained, tested, separator).skipped
        trained, tested = ([n for v in part for n in classes_in(v, separator)] for part in (trained, tested))
    else:
        skipped = class_task(trained, tested).skipped
    alone = only_in(tested, trained)
    if skipped is not None or train is None or not alone:
        return skipped
    more = f" and {len(alone) - _NAMED:,} more" if len(alone) > _NAMED else ""
    return f"{', '.join(map(plain, alone[:_NAMED]))}{more} can only be found among the videos to test on"


def look_alikes(values: Iterable[Any]) -> list[list[str]]:
    """Groups of classes that differ only in case, in blanks, or in the form of a number.

    ``Walk`` and ``walk``, or 1 and 1.0, are different classes for the probe, which may not be intended.
    """
    groups: dict[str | float, list[str]] = defaultdict(list)
    for name in sorted({name for value in values if (name := class_name(value)) is not None}):
        groups[_spelling(name)].append(name)
    return [names for names in groups.values() if len(names) > 1]


def _whole(number: str) -> bool:
    return not np.isfinite(float(number)) or float(number).is_integer()


def _spelling(name: str) -> str | float:
    text = " ".join(unicodedata.normalize("NFKC", name).casefold().replace("_", " ").split())
    return float(text) if _NUMBER.fullmatch(text) and np.isfinite(float(text)) else text
