"""Report the finished runs of a sweep: table.md, table.csv, table.json, table.png, and the terminal."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from bodvcl.errors import ConfigError
from bodvcl.runs.folder import write_atomically
from bodvcl.sweep.file import SweepFile
from bodvcl.sweep.job import is_finished
from bodvcl.sweep.measure import Entry, Measured, is_cost, measure
from bodvcl.sweep.plan import Plan
from bodvcl.sweep.plot import plot
from bodvcl.tables.formats import comma_separated, markdown
from bodvcl.text.tables import Listing, Row, show
from bodvcl.text.words import suggestion


def report(sweep: SweepFile, plan: Plan, out: Path) -> Measured:
    """Write the table in three forms and the plot into ``out``, and print the table.

    Returns:
        What the table shows; without entries nothing is written.

    Raises:
        ConfigError: the file shows, or gives the paper's value of, what there is not.
        DataError: a result cannot be read.
    """
    found = measure(sweep, plan)
    _refuse_unknown_names(sweep, found)
    if not found.entries:
        return found
    table, notes = listing(sweep, found), list(_notes(sweep, plan, found))
    text = "\n".join([f"**{table.title}**\n", markdown(table), *(f"{note}\n" for note in notes)])
    write_atomically(out / "table.md", text.encode())
    write_atomically(out / "table.csv", _csv(sweep, found).encode())
    write_atomically(out / "table.json", _json(sweep, plan, found).encode())
    plot(sweep, plan, found, out / "table.png")
    show(table, *notes)
    print(f"table.md, .csv, .json and .png are in\n  {out}")
    return found


def listing(sweep: SweepFile, found: Measured) -> Listing:
    """The table: a line per row, a column per measurement, and the paper's numbers beside them."""
    paper = sweep.paper.values if sweep.paper else {}
    rows = []
    for row in found.rows:
        values = {
            column: _text(found.entries[row, column])
            for column in found.columns
            if (row, column) in found.entries
        }
        values |= {_of_paper(column): f"{by[row]:g}" for column, by in paper.items() if row in by}
        rows.append(Row((row,), values))
    counts = {entry.sum.count for entry in found.entries.values()}
    seeds = f"{min(counts)} to {max(counts)} seeds" if len(counts) > 1 else f"{max(counts)} seeds"
    what = "one seed" if counts == {1} else f"mean ± standard deviation over {seeds}"
    base = ", ".join(dict.fromkeys(found.baselines.values()))
    gain = (
        f" (difference to the row {base}" + ("" if counts == {1} else " ± 95% interval") + ")" if base else ""
    )
    title = f"{sweep.title}: accuracies in %, {what}{gain}"
    heading = ", ".join(name for name in sweep.vary if name != sweep.columns) or "run"
    return Listing(title, (heading,), [*found.columns, *map(_of_paper, paper)], rows)


def _text(entry: Entry) -> str:
    found = entry.sum
    if is_cost(entry.column):
        digits = max(0, 2 - math.floor(math.log10(found.mean))) if found.mean > 0 else 2
        spread = "" if found.spread is None else f" ± {found.spread:.{digits}f}"
        return f"{found.mean:.{digits}f}{spread}"
    text = f"{found.mean:.1f}" + ("" if found.spread is None else f" ± {found.spread:.1f}")
    if found.gain is None:
        return text
    margin = "" if found.margin is None else f" ± {found.margin:.1f}"
    return f"{text} ({found.gain:+.1f}{margin})"


def _of_paper(column: str) -> str:
    return f"paper: {column}"


def _notes(sweep: SweepFile, plan: Plan, found: Measured) -> Iterator[str]:
    if sweep.paper is not None:
        other = [name for name in found.data if name not in sweep.paper.data]
        paper = sweep.paper
        text = (
            f"Columns marked `paper` are the paper's own numbers ({paper.source}), of {', '.join(paper.data)}"
        )
        if other:
            yield (
                f"{text}. Ours are of another data set ({', '.join(other)}): "
                "the order of the rows can be compared, the values cannot."
            )
        else:
            yield f"{text}; they were not measured here."
    missing = [
        f"{' '.join(filter(None, (', '.join(job.cell.values()) or 'all', job.step)))} (seed {job.seed})"
        for chain in plan.chains
        for job in chain
        if not is_finished(job)
    ]
    if missing:
        yield f"Not finished, and left out: {'; '.join(missing)}."
    if plan.left_out:
        yield f"Left out for want of data: {'; '.join(plan.left_out)}."


def _csv(sweep: SweepFile, found: Measured) -> str:
    paper = sweep.paper.values if sweep.paper else {}
    rows: list[Sequence[object]] = []
    for (row, column), entry in found.entries.items():
        s = entry.sum
        rows.append((row, column, s.mean, s.spread, s.gain, s.margin, s.count, "here"))
    for column, by_row in paper.items():
        rows += [(row, column, value, None, None, None, None, "paper") for row, value in by_row.items()]
    headings = ("row", "column", "mean", "standard deviation", "difference", "margin", "seeds", "source")
    return comma_separated(headings, rows)


def _json(sweep: SweepFile, plan: Plan, found: Measured) -> str:
    content = {
        "title": sweep.title,
        "entries": [
            {
                "row": entry.row,
                "column": entry.column,
                "baseline": found.baselines.get(entry.row),
                **asdict(entry.sum),
                "seeds": {str(seed): value for seed, value in entry.values.items()},
            }
            for entry in found.entries.values()
        ],
        "data": list(found.data),
        "paper": asdict(sweep.paper) if sweep.paper else None,
        "left out": list(plan.left_out),
    }
    return json.dumps(content, indent=1, allow_nan=False) + "\n"


def _refuse_unknown_names(sweep: SweepFile, found: Measured) -> None:
    if sweep.show and all(map(is_cost, found.columns)) and found.measured:
        raise ConfigError(
            f"show: no run has measured any of {'; '.join(sweep.show)}; "
            f"there are: {'; '.join(found.measured)}"
        )
    if sweep.over is not None and found.columns and sweep.over not in found.columns:
        hint = suggestion(sweep.over, found.columns)
        raise ConfigError(f"over: no column {sweep.over!r}{hint}; there are: {'; '.join(found.columns)}")
