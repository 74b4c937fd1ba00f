"""Lists without column names, as for Kinetics, PySlowFast and MMAction: in each line a path and a label."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from bodvcl.data.sets.rows import DatasetRows, VideoRow, classes_of
from bodvcl.errors import DataError

FORMS = (
    "a line of column names, such as path,label; or lines without names, such as `videos/a.mp4 3`, "
    "`videos/a.mp4,3` or, for folders of images, `frames/a 120 3` (number of images, label), the first of "
    "which exists relative to the list"
)
"""What a list can look like, for messages."""

_SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars", " ": "spaces"}
LABEL = "label"
"""Name of the label column of such a list."""


class _Form(NamedTuple):
    """How the lines of a list are read.

    Attributes:
        separator: text between fields.
        after: number of fields behind the path; the last one is the label.
    """

    separator: str
    after: int

    def fields(self, record: Sequence[str]) -> tuple[str, list[str]] | None:
        """Path and the fields behind it; None: there are too few."""
        cut = len(record) - self.after
        return (self.separator.join(record[:cut]), list(record[cut:])) if cut > 0 else None


def read_bare_list(path: Path, text: str) -> DatasetRows | None:
    """Rows of a list whose lines are paths and labels; None: its first line is not of this kind.

    Fields are separated by commas, semicolons, tabs, bars or spaces; the last field is the label, and all
    before it is the path, which may contain the separator. Where the path is a folder, a number of images may
    be between both. Lines may also be paths alone.

    Args:
        path: the list.
        text: its content.

    Raises:
        DataError: a line is not like the first one.
    """
    form = _form(path, text)
    if form is None:
        return None
    rows = []
    for number, record in _records(text, form.separator):
        fields = form.fields(record)
        if fields is None or not fields[0].strip() or (form.after and not fields[1][-1].strip()):
            raise DataError(
                f"{path}: line {number} is {form.separator.join(record)!r}; expected {_told(form)}, as in "
                "the first line"
            )
        file, behind = fields
        if form.after == 2 and not behind[0].strip().isdigit():
            raise DataError(f"{path}: line {number}: {behind[0]!r} is not a number of images")
        labels = {LABEL: behind[-1].strip()} if form.after else {}
        rows.append(VideoRow(os.path.join(path.parent, file.strip()), labels=labels))
    classes = {name: tuple(sorted(found, key=_order)) for name, found in classes_of(rows).items()}
    return DatasetRows(
        str(path),
        str(path.parent),
        rows,
        classes,
        annotations=[str(path)],
        notes=[f"the list has no line of column names: each line is {_told(form)}"],
        list_file=str(path),
    )


def _form(path: Path, text: str) -> _Form | None:
    """The first form in which the first line names a file or folder that exists."""
    for separator in _SEPARATORS:
        try:
            _, record = next(_records(text, separator), (0, [""]))
        except csv.Error:
            continue
        for after in (1, 2, 0):
            form = _Form(separator, after)
            fields = form.fields(record)
            if fields is None or not fields[0].strip() or "\0" in fields[0]:
                continue
            place = os.path.join(path.parent, fields[0].strip())
            if after == 2 and not (fields[1][0].strip().isdigit() and os.path.isdir(place)):
                continue
            if os.path.exists(place):
                return form
    return None


def _records(text: str, separator: str) -> Iterator[tuple[int, list[str]]]:
    """(number of the line, fields) of every line that is not blank."""
    if separator == " ":
        lines = enumerate(text.splitlines(), start=1)
        yield from ((number, line.split()) for number, line in lines if line.strip())
        return
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    for record in reader:
        if any(field.strip() for field in record):
            yield reader.line_num, record


def _told(form: _Form) -> str:
    what = ("a path", "a path and a label", "a folder, its number of images and a label")[form.after]
    return f"{what}, separated by {_SEPARATORS[form.separator]}" if form.after else what


def _order(name: str) -> tuple[bool, int, str]:
    """Numbers before names, by their value."""
    number = name.isascii() and name.isdigit()
    return not number, int(name) if number else 0, name
