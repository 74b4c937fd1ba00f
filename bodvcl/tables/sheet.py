"""The table of a set of runs: a row per pre-training, a column per data set and metric."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from bodvcl.errors import DataError
from bodvcl.tables.join import Column, Joined, differences, join, refuse_other_protocols
from bodvcl.tables.origins import Origin
from bodvcl.tables.records import PROBED, Record
from bodvcl.text.tables import Listing, Row
from bodvcl.text.words import counted, suggestion

_MOST_NAMED = 4
"""Options that the name of a row mentions at most."""


@dataclass(frozen=True)
class Sheet:
    """A table with what its numbers depend on.

    Attributes:
        table: the table; its title is the caption.
        notes: protocols, folds, seeds and commits.
    """

    table: Listing
    notes: Sequence[str]


def make_sheet(records: Sequence[Record], title: str = "") -> Sheet:
    """Lay out records as a table.

    Args:
        records: all of them; see :func:`wanted` for a choice.
        title: first words of the caption.

    Raises:
        DataError: a column whose numbers were measured in different ways, a measurement that is there twice,
            or folds that do not fit.
    """
    refuse_other_protocols(records)
    rows: dict[int, list[Record]] = defaultdict(list)
    origins: list[Origin] = []
    for record in records:
        rows[_place(record.origin, origins)].append(record)
    names = row_names(origins)
    columns = dict.fromkeys(column_of(record) for record in records)
    lines, cells = [], []
    for number, found in rows.items():
        grouped: dict[Column, list[Record]] = defaultdict(list)
        for record in found:
            grouped[column_of(record)].append(record)
        joined = {column: join(group) for column, group in grouped.items()}
        cells += list(joined.values())
        values = {heading(column): text_of(cell) for column, cell in joined.items()}
        lines.append(Row((names[number], origins[number].backbone), values))
    counts = sorted({cell.seeds for cell in cells})
    caption = f"{title or 'Results'} in %"
    if counts != [1]:
        caption += f", mean ± standard deviation over {' or '.join(map(str, counts))} seeds"
        caption += " (the number in brackets)" if len(counts) > 1 else ""
    table = Listing(caption, ("method", "backbone"), [heading(column) for column in columns], lines)
    return Sheet(table, list(_notes(records)))


def wanted(records: Sequence[Record], metrics: Sequence[str]) -> list[Record]:
    """The records of these metrics; without metrics, the first of each data set and kind, and of probes all.

    Raises:
        DataError: no record has one of the metrics.
    """
    if not metrics:
        first: dict[tuple[str, str], str] = {}
        for record in records:
            first.setdefault((record.data, record.kind), record.metric)
        return [r for r in records if r.kind == PROBED or r.metric == first[r.data, r.kind]]
    known = dict.fromkeys(record.metric for record in records)
    for metric in metrics:
        if metric not in known:
            raise DataError(f"--metric {metric!r}{suggestion(metric, known)}: there are: {'; '.join(known)}")
    return [record for record in records if record.metric in metrics]


def row_names(origins: Sequence[Origin]) -> list[str]:
    """A name for each pre-training: its method, and options where methods of the same name differ."""
    names = []
    for origin in origins:
        same = [o for o in origins if (o.method, o.backbone) == (origin.method, origin.backbone)]
        differing = {name for other in same for name, *_ in differences(origin.options, other.options)}
        shown = [f"{name} {_plain(origin.options.get(name))}" for name in sorted(differing)]
        if len(shown) > _MOST_NAMED:
            shown = [*shown[:_MOST_NAMED], f"and {len(shown) - _MOST_NAMED} more"]
        title = origin.method or "not known"
        names.append(f"{title} ({', '.join(shown)})" if shown else title)
    return names


def column_of(record: Record) -> Column:
    """The column of a record."""
    return record.data, record.kind, record.metric


def heading(column: Column) -> str:
    """The heading of a column."""
    return ": ".join((f"{column[0]} {column[1]}", column[2]))


def text_of(cell: Joined) -> str:
    """A cell in %, with its spread and number of seeds if it has several."""
    text = f"{100 * cell.mean:.1f}"
    return text if cell.spread is None else f"{text} ± {100 * cell.spread:.1f} ({cell.seeds})"


def _place(origin: Origin, origins: list[Origin]) -> int:
    """Number of the row of a pre-training; the seed makes no new row."""
    for number, other in enumerate(origins):
        if (other.method, other.backbone, other.options) == (origin.method, origin.backbone, origin.options):
            return number
    origins.append(origin)
    return len(origins) - 1


def _notes(records: Sequence[Record]) -> Iterator[str]:
    kinds: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for record in records:
        kinds[record.data, record.kind].append(record)
    for (data, kind), found in kinds.items():
        shared: dict[str, Any] = dict(found[0].protocol)
        for record in found:
            for name, *_ in differences(shared, record.protocol):
                shared.pop(name, None)
        folds = sorted({record.fold for record in found if record.fold})
        text = ", ".join(f"{name} {_plain(value)}" for name, value in shared.items())
        mean = f"; mean of {counted(len(folds), 'split')} ({', '.join(folds)})" if len(folds) > 1 else ""
        one = f"; split {folds[0]}" if len(folds) == 1 else ""
        yield f"{data} {kind}: {text}{mean}{one}."
    seeds = sorted({seed for r in records if (seed := r.origin.seed) is not None})
    if seeds:
        yield f"Seeds of the pre-training: {', '.join(map(str, seeds))}."
    commits = sorted({record.commit for record in records if record.commit})
    if commits:
        yield f"Commits: {', '.join(commits)}."


def _plain(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)
