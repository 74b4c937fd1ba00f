"""Columns of a list that say which part of a file a row is: from a start to an end, in seconds."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from bodvcl.data.sets.rows import Segment
from bodvcl.data.sets.split_names import folded
from bodvcl.errors import DataError

_PAIRS = {
    "start": "end",
    "starttime": "endtime",
    "timestart": "timeend",
    "tstart": "tend",
    "startsec": "endsec",
    "startsecond": "endsecond",
    "startseconds": "endseconds",
    "begin": "end",
}
"""Names of the two columns, without case, spaces and signs."""


class TimeColumns(NamedTuple):
    """Names of the columns with the start and the end of a part."""

    start: str
    end: str

    def segment(self, cells: Mapping[str, str], where: str) -> Segment | None:
        """The part that a row names; None: both cells are empty, the row is the whole file.

        Args:
            cells: column to cell.
            where: the list and the row, for messages.

        Raises:
            DataError: a cell is no number of seconds, or the part does not end after it begins.
        """
        start, end = cells[self.start].strip(), cells[self.end].strip()
        if not start and not end:
            return None
        seconds = _seconds(start), _seconds(end)
        for name, cell, value in zip(self, (start, end), seconds):
            if value is None:
                raise DataError(
                    f"{where}: {name} is {cell!r}; expected seconds from the first frame, such as 12.5, "
                    f"or both {self.start} and {self.end} empty"
                )
        first, last = seconds
        assert first is not None
        assert last is not None
        if first >= last:
            raise DataError(f"{where}: {self.start} {start} is not before {self.end} {end}")
        return Segment(first, last)


def time_columns(names: Sequence[str]) -> tuple[TimeColumns | None, list[str]]:
    """The columns with times, and notes about columns that could be meant as such.

    Raises:
        DataError: several pairs of columns are named like times.
    """
    plain = {name: re.sub(r"[\W_]", "", folded(name)) for name in names}
    pairs = [
        TimeColumns(start, end) for start in names for end in names if _PAIRS.get(plain[start]) == plain[end]
    ]
    if len(pairs) > 1:
        told = " and ".join(f"{pair.start}, {pair.end}" for pair in pairs)
        raise DataError(
            f"several pairs of columns are named like the times of a part ({told}); rename all but one"
        )
    if pairs:
        return pairs[0], []
    alone = [name for name in names if plain[name] in ("start", "end")]
    return None, [
        f"the column {name!r} is a label: only two columns, start and end, say which part of a file a row is"
        for name in alone
    ]


def _seconds(cell: str) -> float | None:
    try:
        value = float(cell)
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None
