"""The label column that is learned, its classes, and the targets of videos."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bodvcl.errors import ConfigError, DataError
from bodvcl.evaluate.columns import unlike_label
from bodvcl.evaluate.several import classes_in
from bodvcl.evaluate.splits import Labelled
from bodvcl.text.words import plain, suggestion


@dataclass(frozen=True)
class Labels:
    """How the text of a label column becomes targets.

    Attributes:
        column: the label column.
        classes: names of the classes; a class number is a position here.
        separator: text between several classes of a video; None: a video has one.
    """

    column: str
    classes: tuple[str, ...]
    separator: str | None

    @property
    def multi(self) -> bool:
        """Whether a video can have several classes."""
        return self.separator is not None

    def targets(self, videos: Sequence[Labelled]) -> Tensor:
        """Class numbers, int64 ``(videos,)``; with several classes a video, float32 ``(videos, classes)`` of
        0 and 1."""
        number = {name: n for n, name in enumerate(self.classes)}
        found = [[number[name] for name in names_of(video, self.column, self.separator)] for video in videos]
        if not self.multi:
            return torch.tensor([numbers[0] for numbers in found], dtype=torch.int64)
        targets = torch.zeros(len(videos), len(self.classes))
        for row, numbers in zip(targets, found):
            row[numbers] = 1.0
        return targets


def names_of(video: Labelled, column: str, separator: str | None) -> list[str]:
    """The classes of a video; none where it has no label."""
    return classes_in(video.labels.get(column), separator)


def choose_column(columns: Mapping[str, Sequence[str | None]], wanted: str | None) -> str:
    """The label column to learn.

    Args:
        columns: every column with its values.
        wanted: the column that the user named; None: the only one that looks like a label.

    Raises:
        DataError: there is no label column.
        ConfigError: no such column, or several to choose from.
    """
    if not columns:
        raise DataError(
            "no video has a label: give a .csv list with a label column, a folder per class "
            "(class-folders:FOLDER), or a labelled data set by name"
        )
    there = f"there are: {', '.join(map(plain, columns))}"
    if wanted is not None:
        if wanted not in columns:
            raise ConfigError(
                f"--label {plain(wanted)}: no such column{suggestion(wanted, columns)}; {there}"
            )
        return wanted
    likely = [name for name, values in columns.items() if unlike_label(values) is None]
    if len(likely) == 1:
        return likely[0]
    if len(columns) == 1:
        return next(iter(columns))
    raise ConfigError(f"--label: several columns can be learned; choose one ({there})")
