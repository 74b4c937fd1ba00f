"""The axes of a sweep: which rows there are, and the options that each stands for."""

from __future__ import annotations

import itertools
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bodvcl.config.command_line import negated
from bodvcl.errors import ConfigError
from bodvcl.sweep.file import AXES, Axis, SweepFile, Value, label

CHECKPOINT = "{checkpoint}"
"""In the options of an axis: each of --checkpoints."""

Cell = Mapping[str, str]
"""A row of the sweep: axis to label."""


@dataclass(frozen=True)
class Point:
    """One combination of labels.

    Attributes:
        cell: axis to label.
        parts: axis to the options that its label stands for.
    """

    cell: Cell
    parts: Mapping[str, tuple[str, ...]]

    @property
    def words(self) -> tuple[str, ...]:
        """All its options, in the order of the axes."""
        return tuple(word for words in self.parts.values() for word in words)


def points(sweep: SweepFile, checkpoints: Sequence[Path] = ()) -> Iterator[Point]:
    """All combinations, the last axis varying fastest.

    Raises:
        ConfigError: an axis that is one text without checkpoints to put in it.
    """
    axes = {name: dict(_labels(name, axis, checkpoints)) for name, axis in sweep.vary.items()}
    for labels in itertools.product(*axes.values()):
        cell = dict(zip(axes, labels))
        yield Point(cell, {name: axes[name][text] for name, text in cell.items()})


def named(cell: Cell) -> str:
    """A row as the table names it: its labels, joined by a comma."""
    return ", ".join(cell.values()) or "all"


def numbers(sweep: SweepFile) -> str | None:
    """The axis whose values are all numbers; None: there is none, or several."""
    found = [
        name
        for name, axis in sweep.vary.items()
        if isinstance(axis, tuple)
        and len(axis) > 1
        and all(as_number(label(value)) is not None for value in axis)
    ]
    return found[0] if len(found) == 1 else None


def as_number(text: str) -> float | None:
    """The number that a label is; None: it is none."""
    try:
        return float(text)
    except ValueError:
        return None


def _labels(name: str, axis: Axis, checkpoints: Sequence[Path]) -> Iterator[tuple[str, tuple[str, ...]]]:
    if isinstance(axis, str):
        if CHECKPOINT not in axis:
            raise ConfigError(f"vary.{name}: expected {AXES}, got {axis!r}")
        if not checkpoints:
            raise ConfigError(
                f"vary.{name} stands for checkpoints: give runs with --checkpoints RUN [RUN ...]"
            )
        for path in checkpoints:
            yield (
                _checkpoint_name(path, checkpoints),
                tuple(word.replace(CHECKPOINT, str(path)) for word in words_of(axis, f"vary.{name}")),
            )
    elif isinstance(axis, Mapping):
        for text, options in axis.items():
            yield text, words_of(options, f"vary.{name}.{text}")
    else:
        texts = [label(value) for value in axis]
        for text, value in zip(texts, axis):
            if texts.count(text) > 1:
                raise ConfigError(f"vary.{name}: the label {text} is there twice")
            yield text, _option(name, value)


def _option(name: str, value: Value) -> tuple[str, ...]:
    option = name.replace("_", "-")
    if isinstance(value, bool):
        return (f"--{option if value else negated(option)}",)
    return (f"--{option}", label(value))


def _checkpoint_name(path: Path, others: Sequence[Path]) -> str:
    """The last parts of a path, as many as tell it from the others."""
    for count in range(1, len(path.parts) + 1):
        end = path.parts[-count:]
        if sum(other.parts[-count:] == end for other in others) == 1:
            return "/".join(end)
    raise ConfigError(f"--checkpoints: {path} is given twice")


def words_of(text: str, place: str) -> tuple[str, ...]:
    """Options as a shell splits them.

    Raises:
        ConfigError: a quotation mark without its twin.
    """
    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        raise ConfigError(f"{place}: {text!r} cannot be split into options: {error}") from error
