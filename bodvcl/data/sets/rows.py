"""What the rest of the program knows of a data set: rows of (file, split, labels), and their classes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bodvcl.data.sets.spans import Span
from bodvcl.data.tars.names import TarFile

_SIDES = re.compile(r"(?<![a-z])(left|right)(?![a-z])", re.IGNORECASE)


@dataclass(frozen=True)
class Segment:
    """A part of a longer file that is one video of the data set.

    Attributes:
        start, end: seconds since the first frame.
        target: path of its copy by `bodvcl data transcode`, relative to the root of the data set. "": that
            of the file, with the seconds behind its name.
    """

    start: float
    end: float
    target: str = ""


def part_name(path: str, start: float, end: float) -> str:
    """What the user reads as the name of a part of a file; times in seconds."""
    return f"{path} from {start:.5g} to {end:.5g} s"


@dataclass(frozen=True)
class VideoRow:
    """One video of a data set.

    Attributes:
        path: the file.
        split: "train", "val", "test", or another name, as
            :func:`~bodvcl.data.sets.split_names.canonical_split` returns it; "" without splits.
        labels: label column to class name.
        segment: the part of the file that is the video; None: the whole file.
        fps: frame rate of a folder of images; 0: not said.
        content: equal for rows with the same file and part, filled in by
            :func:`~bodvcl.data.files.repeats.marked_repeats`; "" if no other row has these.
        span: the part in seconds, filled in by the same function; None if no row is a part of this file.
    """

    path: str
    split: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    segment: Segment | None = None
    fps: float = 0.0
    content: str = ""
    span: Span | None = None

    @property
    def name(self) -> str:
        """The path, and of a part its seconds in the file."""
        if self.segment is None:
            return self.path
        return part_name(self.path, self.segment.start, self.segment.end)


@dataclass(frozen=True)
class DatasetRows:
    """A data set as its files describe it; nothing has been decoded.

    Attributes:
        name: name in the specification, for example "ucf101@2"; a folder or list has its path as name.
        root: folder that all paths are below.
        rows: the videos, in the order of the official lists.
        classes: label column to class names; the official number of a class is its position here.
        missing: files that an official list names but that do not exist.
        annotations: the files that splits and labels were read from.
        notes: what a user should know before trusting a result on these data.
        others: number of non-video files seen (folders only).
        unreadable: (folder, reason) of folders that could not be read and were skipped.
        list_file: the .csv list that the rows are from; "" for a folder or an official layout.
        tars: the tar files that hold the videos; ``rows`` is then empty, and a scan finds the videos.
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
    tars: Sequence[TarFile] = ()

    @property
    def splits(self) -> set[str]:
        """Names of the splits of the rows, or of the folders of tar files."""
        return {row.split for row in self.rows} | {tar.split for tar in self.tars}

    @property
    def flip_forbidden_by(self) -> str | None:
        """The first class name with the word left or right, or None. Mirroring would make its label wrong."""
        names = (name for column in self.classes.values() for name in column)
        return next(filter(_SIDES.search, names), None)

    @property
    def flip_allowed(self) -> bool:
        """Whether a video may be mirrored without changing its label."""
        return self.flip_forbidden_by is None


def classes_of(rows: Iterable[VideoRow]) -> dict[str, tuple[str, ...]]:
    """The class names in each label column, sorted: for data without an official order."""
    seen: dict[str, set[str]] = {}
    for row in rows:
        for column, name in row.labels.items():
            seen.setdefault(column, set()).update([name] if name else [])
    return {column: tuple(sorted(names)) for column, names in seen.items()}


@dataclass(frozen=True)
class DataSet:
    """A data set with an official layout.

    Attributes:
        name: name at the start of a specification.
        title: name in the literature.
        layout: files and folders expected below the root, in one line.
        read: maps (root, number of the official split, from 1) to rows.
        folds: number of official splits to choose from.
    """

    name: str
    title: str
    layout: str
    read: Callable[[Path, int], DatasetRows]
    folds: int = 1
