"""Tables for the terminal: a table if the width allows it, otherwise a list. No name is ever cut."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from bodvcl.text.words import printable

_UNLIMITED = 10_000
"""Width of a file or a pipe, in columns."""


@dataclass(frozen=True)
class Row:
    """A line of a table.

    Attributes:
        names: what the line is about: one cell per column of names.
        values: column to its text; other columns stay empty.
        styles: column to the style of its text, in rich's notation.
        style: style of the whole line.
        last: whether a rule is drawn below.
    """

    names: Sequence[str]
    values: Mapping[str, str]
    styles: Mapping[str, str] = field(default_factory=dict)
    style: str = ""
    last: bool = False


@dataclass(frozen=True)
class Listing:
    """Names and values, printed by rich as a table if the width allows it, otherwise as a list.

    In the list, each line of the table becomes a paragraph: its names, then its columns with their values.

    Attributes:
        title: line above the table.
        names: headings of the columns of names, on the left.
        columns: headings of the columns of values; a line break splits a heading.
        rows: the lines.
    """

    title: str
    names: Sequence[str]
    columns: Sequence[str]
    rows: Sequence[Row]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Text(self.title, style="bold", no_wrap=True, overflow="ignore")
        unlimited = options.update(max_width=100 * _UNLIMITED)
        for gap in (1, 0):
            table = self._table(gap)
            if Measurement.get(console, unlimited, table).maximum <= options.max_width:
                yield table
                return
        yield from self._list(options.max_width)

    def _table(self, gap: int) -> Table:
        table = Table(box=box.SIMPLE_HEAD, padding=(0, gap, 0, 0))
        for name in self.names:
            table.add_column(Text(name), no_wrap=True)
        for name in self.columns:
            table.add_column(Text(name), justify="right", no_wrap=True)
        for row in self.rows:
            names = (Text(printable(name)) for name in row.names)
            values = (Text(row.values.get(c, ""), style=row.styles.get(c, "")) for c in self.columns)
            table.add_row(*names, *values, style=row.style, end_section=row.last)
        return table

    def _list(self, width: int) -> Iterator[Text]:
        before: list[str] = []
        for row in self.rows:
            names = [printable(name) for name in row.names]
            for depth, name in enumerate(names):
                if name and names[: depth + 1] != before[: depth + 1]:
                    yield _line(f"{'  ' * depth}{name}", row.style)
            before = names
            values = [
                (column.replace("\n", " "), Text(row.values[column], row.styles.get(column, "")))
                for column in self.columns
                if row.values.get(column)
            ]
            for line in _packed(values, width, indent="  " * len(names)):
                line.stylize(row.style)
                yield line
        yield Text()


def show(*parts: Listing | str) -> None:
    """Print tables and lines of text on stdout. Lines of text are not wrapped; the terminal does that."""
    console = Console(width=output_width(), highlight=False, markup=False, emoji=False)
    for part in parts:
        if isinstance(part, str):
            print(part)
        else:
            console.print(part, crop=False)


def output_width() -> int:
    """Width of stdout in columns: the variable COLUMNS, or the terminal's width.

    A file or a pipe has no limit.
    """
    size = shutil.get_terminal_size((0, 0)).columns if "COLUMNS" in os.environ or sys.stdout.isatty() else 0
    return size if size > 0 else _UNLIMITED


def _line(text: str, style: str = "") -> Text:
    return Text(text, style=style, no_wrap=True, overflow="ignore")


def _packed(values: Iterable[tuple[str, Text]], width: int, indent: str) -> Iterator[Text]:
    """Lines of headings with values, as many as fit; a pair that is too wide takes two lines."""
    line = _line(indent)
    for heading, value in values:
        part = _line(f"{heading} ").append_text(value)
        if line.plain.strip() and line.cell_len + 3 + part.cell_len > width:
            yield line
            line = _line(indent)
        if line.plain.strip():
            line.append("   ")
        elif line.cell_len + part.cell_len > width:
            yield _line(f"{indent}{heading}")
            part = _line("  ").append_text(value)
        line.append_text(part)
    if line.plain.strip():
        yield line
