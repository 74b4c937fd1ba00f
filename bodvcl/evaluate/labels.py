"""Labels of videos, and the division of labelled videos into a training and a test part."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class ClassTask:
    """One label column as a classification task: rows and class numbers of both parts.

    A class that occurs in only one part is left out.
    """

    train: NDArray[np.int64]
    """Rows of the training part that have a usable label."""
    test: NDArray[np.int64]
    """The same for the test part."""
    train_classes: NDArray[np.int64]
    """Class number of each training row, an index of ``names``."""
    test_classes: NDArray[np.int64]
    """Class number of each test row."""
    names: tuple[str, ...]
    """Names of the classes, sorted."""
    skipped: str | None = None
    """Reason why the column cannot be probed; None if it can."""

    @property
    def chance(self) -> float:
        """Share of the most frequent class in the test part."""
        return float(np.bincount(self.test_classes).max() / len(self.test))


def class_name(value: Any) -> str | None:
    """A label as text, without surrounding blanks and with accents in their composed form (NFC).

    None, NaN and blank text mean an unknown label, for which the result is ``None``.
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    return unicodedata.normalize("NFC", str(value)).strip() or None


def class_task(labels_train: Sequence[Any], labels_test: Sequence[Any]) -> ClassTask:
    """The classification task of the labels of both parts."""
    train, test = _known(labels_train), _known(labels_test)
    shared = sorted(set(train.values()) & set(test.values()))
    number = {name: k for k, name in enumerate(shared)}

    def part(known: dict[int, str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        rows = [(row, number[name]) for row, name in known.items() if name in number]
        pairs = np.array(rows, dtype=np.int64).reshape(-1, 2)
        return pairs[:, 0], pairs[:, 1]

    (rows_train, classes_train), (rows_test, classes_test) = part(train), part(test)
    known = len(set(train.values()) | set(test.values()))
    return ClassTask(
        rows_train, rows_test, classes_train, classes_test, tuple(shared), why_not_probed(known, len(shared))
    )


def halves(labels: Sequence[Any], seed: int = 0) -> NDArray[np.bool_]:
    """Bool ``(N,)``: the training rows. They are a random half of each class, rounded up; unknown labels are
    not."""
    names = [class_name(value) for value in labels]
    rng = np.random.default_rng(seed)
    train = np.zeros(len(names), dtype=bool)
    for name in sorted({name for name in names if name is not None}):
        rows = rng.permutation([row for row, other in enumerate(names) if other == name])
        train[rows[: (len(rows) + 1) // 2]] = True
    return train


def only_in(part: Sequence[Any], other: Sequence[Any]) -> list[str]:
    """Classes that ``part`` has and ``other`` lacks, sorted."""
    return sorted(set(_known(part).values()) - set(_known(other).values()))


def _known(labels: Sequence[Any]) -> dict[int, str]:
    named = ((row, class_name(value)) for row, value in enumerate(labels))
    return {row: name for row, name in named if name is not None}


def why_not_probed(known: int, usable: int) -> str | None:
    """Why a column cannot be probed; None if it can.

    Args:
        known: number of classes.
        usable: number of classes with videos both to train and to test on.
    """
    if usable >= 2:
        return None
    if known == 0:
        return "no video has this label"
    if known == 1:
        return "all videos have the same label"
    return f"{usable} of {known} classes have videos both to train and to test on; a probe needs two"
