"""What a data set is to the rest of the program: rows of (file, split, labels), and what they mean."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

_SIDES = re.compile(r"(?<![a-z])(left|right)(?![a-z])", re.IGNORECASE)


@dataclass(frozen=True)
class Segment:
    """A part of a long file that is one video of the data set.

    Attributes:
        start, end: seconds since the first frame.
        target: where `bodvcl data transcode` writes it, relative to the root of the data set.
    """

    start: float
    end: float
    target: str


@dataclass(frozen=True)
class VideoRow:
    """One video of a data set.

    Attributes:
        path: the file.
        split: "train", "val", "test", or another name of a list, as
            :func:`~bodvcl.data.sets.split_names.canonical_split` reads it; "" without splits.
        labels: label column to class name.
        segment: the part of the file that is meant; None: all of it.
        content: the first listed path of the same file, once
            :func:`~bodvcl.data.files.repeats.marked_repeats` has looked for it; "" where no other row is of
            this file.
    """

    path: str
    split: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    segment: Segment | None = None
    content: str = ""


@dataclass(frozen=True)
class DatasetRows:
    """A data set as its files describe it; nothing has been decoded.

    Attributes:
        name: as in the specification, for example "ucf101@2".
        root: folder that all paths are below.
        rows: in the order of the official lists.
        classes: label column to class names; a class's official number is its place here.
        missing: files that an official list names and that are not there.
        annotations: the files that splits and labels were read from.
        notes: what a user should know before trusting a result on these data.
        others: number of files seen that are no videos (folders only).
        unreadable: (folder, reason) of folders that could not be looked into and were passed over.
        list_file: the .csv list that the rows are from; "" for a folder or an official layout.
    """

    name: str
    root: str
    rows: list[VideoRow]
    classes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    annotations: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    others: int = 0
    unreadable: list[tuple[str, str]] = field(default_factory=list)
    list_file: str = ""

    @property
    def flip_forbidden_by(self) -> str | None:
        """A class name that says left or right, so that a mirrored video would have another label."""
        names = (name for column in self.classes.values() for name in column)
        return next(filter(_SIDES.search, names), None)

    @property
    def flip_allowed(self) -> bool:
        """Whether a video may be mirrored without changing its label."""
        return self.flip_forbidden_by is None


def classes_of(rows: Iterable[VideoRow]) -> dict[str, tuple[str, ...]]:
    """Class names that occur, sorted, per label column: for data without an official order."""
    seen: dict[str, set[str]] = {}
    for row in rows:
        for column, name in row.labels.items():
            seen.setdefault(column, set()).update([name] if name else [])
    return {column: tuple(sorted(names)) for column, names in seen.items()}


@dataclass(frozen=True)
class DataSet:
    """A data set with an official layout.

    Attributes:
        name: what a specification begins with.
        title: its name in the literature.
        layout: the files and folders that are expected below the root, in one line.
        read: (root, number of the official split, from 1) to rows.
        folds: official splits to choose from.
    """

    name: str
    title: str
    layout: str
    read: Callable[[Path, int], DatasetRows]
    folds: int = 1
