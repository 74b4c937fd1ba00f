"""Labels with several classes in one cell: `run;jump`, `run|jump` or `["run", "jump"]`.

A cell is never split without being asked for: a sign may belong to the name of a class.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bodvcl.errors import ConfigError
from bodvcl.evaluate.labels import class_name, why_not_probed
from bodvcl.text.words import plain

SEPARATORS = (";", "|")
"""Text between classes that is found where the user names none."""


def classes_in(value: Any, separator: str | None) -> list[str]:
    """The classes of a cell, each once, in order; none for an unknown label.

    Args:
        value: a value that :func:`~bodvcl.evaluate.labels.class_name` takes.
        separator: text between classes; a list in JSON is understood, too. None: the cell is one class.
    """
    text = class_name(value)
    if text is None or separator is None:
        return [] if text is None else [text]
    parts: Iterable[Any] = text.split(separator) if (listed := _json(text)) is None else listed
    return list(dict.fromkeys(filter(None, map(class_name, parts))))


def choose_separator(column: str, values: Sequence[Any], wanted: str | None) -> tuple[str, str]:
    """What is between the classes of a column, and a line for the user that says so.

    Args:
        column: name of the column.
        values: its values.
        wanted: the separator that the user named. None: ; or |, whichever the column has.

    Raises:
        ConfigError: the column has both, and the user named none.
    """
    texts = [text for text in map(class_name, values) if text is not None]
    lists = sum(_json(text) is not None for text in texts)
    with_sign = {sign: _holding(texts, sign) for sign in ([wanted] if wanted else SEPARATORS)}
    present = [sign for sign, count in with_sign.items() if count]
    if len(present) > 1:
        raise ConfigError(
            f"label {plain(column)}: cells contain both {' and '.join(map(repr, present))}; --separator says "
            "which of them is between classes"
        )
    separator = present[0] if present else wanted or SEPARATORS[0]
    found = [f"{separator!r} separates classes in {with_sign[separator]:,} of {len(texts):,} cells"]
    found += [f"{lists:,} are lists in JSON"] if lists else []
    return separator, f"label {plain(column)} can have several classes: {', '.join(found)}"


def hint(column: str, values: Sequence[Any]) -> str | None:
    """A line for a column whose cells count as one class each, although they may hold several; or None."""
    texts = [text for text in map(class_name, values) if text is not None]
    lists = sum(_json(text) is not None for text in texts)
    signs = [repr(sign) for sign in SEPARATORS if _holding(texts, sign)]
    if not lists and not signs:
        return None
    what = " or ".join([*signs, *(["a list in JSON"] if lists else [])])
    return (
        f"note: label {plain(column)}: cells contain {what}, and each counts as one class; if they hold "
        "several, add --multi-label"
    )


@dataclass(frozen=True)
class SeveralTask:
    """A label column in which a video can have several classes: rows and targets of both parts.

    A class that occurs in only one part is left out, and so is a video without any class that is left.

    Attributes:
        train, test: rows of the training and of the test part.
        train_targets, test_targets: bool (rows, classes).
        names: names of the classes, sorted.
        skipped: why the column cannot be probed; None if it can.
    """

    train: NDArray[np.int64]
    test: NDArray[np.int64]
    train_targets: NDArray[np.bool_]
    test_targets: NDArray[np.bool_]
    names: tuple[str, ...]
    skipped: str | None

    @property
    def chance(self) -> float:
        """Expected mAP of scores that say nothing: the mean share of test videos that have a class."""
        return float(self.test_targets.mean())


def several_task(labels_train: Sequence[Any], labels_test: Sequence[Any], separator: str) -> SeveralTask:
    """The task of the labels of both parts."""
    parts = [[classes_in(value, separator) for value in labels] for labels in (labels_train, labels_test)]
    known = [{name for classes in part for name in classes} for part in parts]
    names = tuple(sorted(known[0] & known[1]))
    number = {name: k for k, name in enumerate(names)}
    found = []
    for part in parts:
        targets = np.zeros((len(part), len(names)), bool)
        for row, classes in enumerate(part):
            targets[row, [number[name] for name in classes if name in number]] = True
        rows = np.flatnonzero(targets.any(1))
        found.append((rows, targets[rows]))
    (train, train_targets), (test, test_targets) = found
    skipped = why_not_probed(len(known[0] | known[1]), len(names))
    return SeveralTask(train, test, train_targets, test_targets, names, skipped)


def _holding(texts: Sequence[str], sign: str) -> int:
    return sum(sign in text for text in texts if _json(text) is None)


def _json(text: str) -> list[Any] | None:
    """The list that a cell is in JSON; None: it is none."""
    if not text.startswith("["):
        return None
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return (
        found
        if isinstance(found, list) and not any(isinstance(part, (list, dict)) for part in found)
        else None
    )
