"""A user's own list of videos: a column `path`, optional columns `split`, `start`, `end`, and labels."""

from __future__ import annotations

import csv
import io
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bodvcl.data.sets.bare_list import FORMS, read_bare_list
from bodvcl.data.sets.list_times import TimeColumns, time_columns
from bodvcl.data.sets.rows import DatasetRows, VideoRow, classes_of
from bodvcl.data.sets.split_names import TEST, TRAIN, VAL, canonical_split, folded, split_role
from bodvcl.errors import DataError
from bodvcl.text.words import counted

_SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
_PATH, _SPLIT = "path", "split"
_LIKE_SPLIT = frozenset([
    "splits", "splitname", "datasplit", "datasetsplit", "set", "subset", "partition", "phase", "usage",
])  # fmt: skip


_LIKE_RATE, _MOST_FPS = frozenset(["fps", "framerate"]), 1000


def read_csv_list(path: Path) -> DatasetRows:
    """Rows of a list with a column `path`, relative to the list; other columns than `split` are labels.

    A list without a line of column names is read by :func:`~bodvcl.data.sets.bare_list.read_bare_list`.
    Cells are separated by commas, or else by semicolons, tabs or bars. Case and spaces are ignored in the
    names `path` and `split`. Two columns `start` and `end` (also start_time and end_time, and the like) are
    the seconds of the file that the row is. A column `fps` is the frame rate of folders of images, if there
    are any. Blank rows, and blank cells after the last column, are ignored. A column without a name is left
    out. If no column is named split, another column is used as the split: one that is called subset, set,
    partition or similar and holds names of splits, or one that contains nothing but names of splits, for
    training and for testing. Notes say so.

    Raises:
        DataError: the list cannot be read, has no column `path` or two columns of one name, or a row has too
            few or too many cells, no path, or times that are none.
    """
    text = _text(path)
    if not _has_names(text):
        bare = read_bare_list(path, text)
        if bare is not None:
            return bare
    table = _read(path, text)
    notes = [] if table.separator == "," else [f"cells are separated by {_SEPARATORS[table.separator]}"]
    notes += [
        f"column {number} of the list has no name and is left out; name it to use it as a label"
        for number in table.nameless
    ]
    times, told = _times(table)
    notes += told
    rates, paths = _rates(table), [_located(path.parent, cells[_PATH]) for cells in table.rows]
    if rates is not None and not any(map(os.path.isdir, paths)):
        rates = None
    split = table.split_column()
    if split not in (None, _SPLIT):
        notes.append(f"the column {split!r} contains names of splits: it is used as the split")
    rows = [
        VideoRow(
            file,
            cells[split].strip() if split is not None else "",
            {
                name: cells[name].strip()
                for name in table.names
                if name not in (_PATH, split, rates, *(times or ()))
            },
            times and times.segment(cells, f"{path}: row {number}"),
            0.0 if rates is None else _rate(cells[rates], f"{path}: row {number}: {rates}"),
        )
        for file, number, cells in zip(paths, table.numbers, table.rows)
    ]
    return DatasetRows(
        str(path),
        str(path.parent),
        rows,
        classes_of(rows),
        annotations=[str(path)],
        notes=notes,
        list_file=str(path),
    )


@dataclass(frozen=True)
class _Table:
    """A list as it was read.

    Attributes:
        path: the file.
        separator: character between cells.
        names: names of the columns, in order.
        rows: for each row, column name to cell.
        numbers: number of each row in the file, from 1.
        nameless: numbers, from 1, of columns that have cells but no name.
    """

    path: Path
    separator: str
    names: list[str]
    rows: list[dict[str, str]]
    numbers: list[int]
    nameless: list[int]

    def split_column(self) -> str | None:
        """The column named split, or the only one similar to it by name or content; None if there is none."""
        if _SPLIT in self.names:
            return _SPLIT
        like = [name for name in self.names if name != _PATH and self._holds_splits(name)]
        if len(like) > 1:
            raise DataError(
                f"{self.path}: the columns {' and '.join(like)} contain names of splits; rename the "
                "right one to split"
            )
        return like[0] if like else None

    def _holds_splits(self, name: str) -> bool:
        values = {canonical_split(row[name]) for row in self.rows} - {""}
        roles = set(map(split_role, values))
        if re.sub(r"[\W_]", "", folded(name)) in _LIKE_SPLIT:
            return bool({TRAIN, VAL, TEST} & roles)
        return TRAIN in roles and bool({VAL, TEST} & roles) and "" not in roles


def _read(path: Path, text: str) -> _Table:
    try:
        separator, header = _header(path, text)
        records = list(_cells(text, separator))
    except csv.Error as error:
        raise DataError(f"{path}: cannot be read as a list of videos: {error}") from error
    named = max(at for at, name in enumerate(header, start=1) if name)
    rows, numbers, nameless = [], [], set()
    first = next(number for number, record in enumerate(records) if _filled(record))
    for number, record in enumerate(records[first + 1 :], start=first + 2):
        if not _filled(record):
            continue
        if len(record) < named or _filled(record[len(header) :]):
            raise DataError(
                f"{path}: row {number} does not have the {named} columns of its first line; "
                f"it has {counted(len(record), 'cell')}"
            )
        row = {name: cell for name, cell in zip(header, record) if name}
        if not row[_PATH].strip():
            raise DataError(f"{path}: row {number} names no file in its column path")
        if "\0" in row[_PATH]:
            raise DataError(f"{path}: row {number} has a zero byte in its column path")
        rows.append(row)
        numbers.append(number)
        without = zip(header, record, range(1, len(header) + 1))
        nameless |= {at for name, cell, at in without if not name and cell.strip()}
    return _Table(path, separator, [name for name in header if name], rows, numbers, sorted(nameless))


def _rates(table: _Table) -> str | None:
    """The column that may say how many images per second a folder has."""
    return next((name for name in table.names if re.sub(r"[\W_]", "", folded(name)) in _LIKE_RATE), None)


def _rate(cell: str, what: str) -> float:
    """Frames per second; 0: the cell is empty."""
    try:
        value = float(cell) if cell.strip() else 0.0
    except ValueError:
        value = -1.0
    if not (0 < value <= _MOST_FPS or not cell.strip()):
        raise DataError(
            f"{what} is {cell.strip()!r}; expected frames per second of a folder of images, such as 25"
        )
    return value


def _times(table: _Table) -> tuple[TimeColumns | None, list[str]]:
    try:
        return time_columns([name for name in table.names if name not in (_PATH, _SPLIT)])
    except DataError as error:
        raise DataError(f"{table.path}: {error}") from None


def _text(path: Path) -> str:
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            return file.read()
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: cannot be read as a list of videos: {error}; save it as UTF-8") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read as a list of videos: {error}") from error


def _cells(text: str, separator: str) -> Iterator[list[str]]:
    return csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)


def _filled(record: Sequence[str]) -> bool:
    return any(cell.strip() for cell in record)


def _header(path: Path, text: str) -> tuple[str, list[str]]:
    """The separator, and the names of the columns, "" for a column without a name.

    Raises:
        DataError: no column is named path, or two columns have the same name.
    """
    headers = {separator: _first_row(text, separator) for separator in _SEPARATORS}
    separator = next((one for one, header in headers.items() if _PATH in map(_name, header)), None)
    if separator is None:
        first = next(filter(_filled, _cells(text, ",")), None)  # raises where there is a line, but no row
        raise DataError(
            f"{path}: no column named path in its first line {first or '(empty file)'}; expected {FORMS}"
        )
    names = [_name(cell) for cell in headers[separator]]
    twice = [name for name, count in Counter(filter(None, names)).items() if count > 1]
    if twice:
        raise DataError(
            f"{path}: {' and '.join(map(repr, twice))} names more than one column; give each its own name"
        )
    return separator, names


def _has_names(text: str) -> bool:
    return any(_PATH in map(_name, _first_row(text, separator)) for separator in _SEPARATORS)


def _first_row(text: str, separator: str) -> list[str]:
    try:
        return next(filter(_filled, _cells(text, separator)), [])
    except csv.Error:  # quoted cells with another separator between them
        return []


def _name(cell: str) -> str:
    plain = " ".join(cell.split())
    return folded(plain) if folded(plain) in (_PATH, _SPLIT) else plain


def _located(folder: Path, cell: str) -> str:
    """The file that a cell names. Spaces around the name are removed unless a file with them exists."""
    written, bare = os.path.join(folder, cell), os.path.join(folder, cell.strip())
    return written if written == bare or os.path.exists(written) else bare
