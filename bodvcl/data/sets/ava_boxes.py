"""AVA's table of boxes: one line per person and action, ``video,second,x1,y1,x2,y2,action,score``.

Predictions of actions, and detections of people (with an empty action), are files of this form.
"""

from __future__ import annotations

import csv
from array import array
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from bodvcl.errors import DataError

EXPECTED = "video,second,x1,y1,x2,y2,action,score"
"""Columns of the file; it has no header."""

_PIECE = 100_000  # rows: as lines of text they take a hundred bytes each

Key = tuple[str, int]
"""A key frame: id of the film, and its second in the film."""


@dataclass(frozen=True)
class BoxTable:
    """R boxes, each with one action and its score.

    Attributes:
        keys: the key frames, each once.
        frames: int64 (R,), position in ``keys``.
        boxes: float64 (R, 4), x1, y1, x2, y2 as shares of the frame.
        actions: int64 (R,), official number of the action; 0: none.
        scores: float64 (R,).
    """

    keys: tuple[Key, ...]
    frames: np.ndarray
    boxes: np.ndarray
    actions: np.ndarray
    scores: np.ndarray

    def __len__(self) -> int:
        return len(self.frames)

    def rows(self, where: np.ndarray) -> BoxTable:
        """The rows that a mask or an array of positions chooses; the key frames stay."""
        return replace(
            self, frames=self.frames[where], boxes=self.boxes[where], actions=self.actions[where],
            scores=self.scores[where],
        )  # fmt: skip

    def without(self, excluded: Collection[Key]) -> BoxTable:
        """The rows outside of some key frames."""
        kept = np.array([key not in excluded for key in self.keys], bool)
        return self.rows(kept[self.frames])

    def numbered_as(self, keys: Iterable[Key]) -> BoxTable:
        """The same rows; the key frames begin with ``keys``, and those of this table follow."""
        number = {key: place for place, key in enumerate(dict.fromkeys([*keys, *self.keys]))}
        places = np.array([number[key] for key in self.keys], np.int64)
        return replace(self, keys=tuple(number), frames=places[self.frames])


def read_box_table(path: Path) -> BoxTable:
    """Read a file of predictions or detections.

    Raises:
        DataError: it does not exist, is empty, or a line has another form, or a box that is not inside of its
            frame or has no area; the line is named.
    """
    keys: dict[Key, int] = {}
    frames, actions, numbers = array("q"), array("q"), array("d")
    row: list[str] = []
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            for row in csv.reader(file):
                video, second, x1, y1, x2, y2, action, score = row
                frames.append(keys.setdefault((video, int(second)), len(keys)))
                actions.append(int(action) if action else 0)
                numbers.extend((float(x1), float(y1), float(x2), float(y2), float(score)))
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (ValueError, OverflowError, csv.Error):
        raise DataError(
            f"{path}: line {len(numbers) // 5 + 1}: cannot understand {','.join(row)[:80]!r}; expected "
            f"{EXPECTED}"
        ) from None
    if not frames:
        raise DataError(f"{path}: the file is empty; expected lines {EXPECTED}")
    columns = np.frombuffer(numbers, np.float64).reshape(-1, 5)
    table = BoxTable(
        tuple(keys), np.array(frames, np.int64), columns[:, :4].copy(), np.array(actions, np.int64),
        columns[:, 4].copy(),
    )  # fmt: skip
    _check(path, table)
    return table


def _check(path: Path, table: BoxTable) -> None:
    x1, y1, x2, y2 = table.boxes.T
    inside = (x1 >= 0) & (x1 < x2) & (x2 <= 1) & (y1 >= 0) & (y1 < y2) & (y2 <= 1)
    good = inside & np.isfinite(table.scores)
    if not good.all():
        line = int(np.argmin(good))
        what = f"the box {','.join(f'{value:g}' for value in table.boxes[line])}"
        raise DataError(
            f"{path}: line {line + 1}: {what if not inside[line] else 'the score'} is not possible; expected "
            "0 <= x1 < x2 <= 1, 0 <= y1 < y2 <= 1, shares of the frame, and a finite score"
        )


def box_file(table: BoxTable) -> bytes:
    """The content of a file with these rows; :func:`read_box_table` reads the same numbers from it."""
    pieces = range(0, len(table), _PIECE)
    return b"".join(_lines(table.rows(np.arange(at, min(at + _PIECE, len(table))))) for at in pieces)


def _lines(table: BoxTable) -> bytes:
    lines = []
    columns = (table.frames, table.boxes, table.actions, table.scores)
    for frame, box, action, score in zip(*(column.tolist() for column in columns)):
        video, second = table.keys[frame]
        corners = ",".join(map(repr, box))
        lines.append(f"{video},{second:04d},{corners},{action or ''},{score!r}\n")
    return "".join(lines).encode()
