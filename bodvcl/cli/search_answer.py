"""What ``bodvcl search`` found: printed as tables, written as .csv, .json or .txt, and shown on a page."""

from __future__ import annotations

import csv
import io
import json
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bodvcl.embed.file import Embeddings
from bodvcl.runs.folder import write_atomically
from bodvcl.search.changes import not_as_embedded
from bodvcl.text.tables import Listing, show
from bodvcl.text.words import counted, printable

_NAMED = 3
"""Files that a warning names."""


@dataclass(frozen=True)
class Section:
    """Rows that belong together on the page.

    Attributes:
        heading, about: its title, and a line below it.
        rows: numbers of rows, each with its caption.
    """

    heading: str
    about: str
    rows: Sequence[tuple[int, str]]


@dataclass(frozen=True)
class Answer:
    """What was found.

    Attributes:
        title: what was asked.
        parts: tables and lines for the terminal.
        records: all that was found, for ``--out``.
        sections: what the page shows.
        remove: paths of files to remove, for a .txt file.
    """

    title: str
    parts: Sequence[Listing | str]
    records: Sequence[Mapping[str, Any]]
    sections: Sequence[Section]
    remove: Sequence[str] = field(default_factory=tuple)


def print_answer(answer: Answer, embeddings: Embeddings) -> None:
    """Print the tables, and warn of shown files that are not as they were when they were embedded."""
    show(*answer.parts)
    rows = [row for section in answer.sections for row, _ in section.rows]
    for state, paths in not_as_embedded(embeddings, rows).items():
        if paths:
            named = ", ".join(map(printable, paths[:_NAMED])) + (", ..." if len(paths) > _NAMED else "")
            what = "changed since they were embedded" if state == "changed" else "no longer there"
            warnings.warn(f"{counted(len(paths), 'file')} {what}: {named}", stacklevel=2)


def write_out(answer: Answer, path: Path) -> None:
    """Write the records, or with a name in .txt the files to remove, one a line."""
    if path.suffix.lower() == ".json":
        text = json.dumps(list(answer.records), indent=1) + "\n"
    elif path.suffix.lower() == ".txt":
        text = "".join(f"{name}\n" for name in answer.remove)
    else:
        table = io.StringIO()
        writer = csv.DictWriter(table, list(answer.records[0]) if answer.records else [], lineterminator="\n")
        writer.writeheader()
        writer.writerows(answer.records)
        text = table.getvalue()
    _write(path, text)


def write_page(answer: Answer, embeddings: Embeddings, facts: Mapping[str, str], path: Path) -> None:
    """Write one self-contained page with playable thumbnails."""
    from bodvcl.serve.results_page import Group, Shown, results_page

    def shown(row: int, caption: str) -> Shown:
        start, end = float(embeddings.start[row]), float(embeddings.end[row])
        return Shown(embeddings.paths[row], start, end, caption)

    groups = [
        Group(section.heading, section.about, [shown(row, caption) for row, caption in section.rows])
        for section in answer.sections
    ]
    _write(path, results_page(answer.title, groups, facts))


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, text.encode())


def where(embeddings: Embeddings, row: int) -> dict[str, Any]:
    """Path and time of a row, for a record."""
    return {
        "path": embeddings.paths[row],
        "start": round(float(embeddings.start[row]), 3),
        "end": round(float(embeddings.end[row]), 3),
    }


def time_of(embeddings: Embeddings, row: int) -> str:
    """From when to when a row is, for a table."""
    return f"{embeddings.start[row]:.1f}-{embeddings.end[row]:.1f} s"


def short(embeddings: Embeddings, row: int) -> str:
    """Name and time of a row, for a caption."""
    name = printable(os.path.basename(embeddings.paths[row]))
    return name if embeddings.about.window is None else f"{name} {time_of(embeddings, row)}"
