"""The verb ``table``: a table of any set of runs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from bodvcl.cli.console import run_verb, uninterrupted
from bodvcl.config.command_line import Flag, Positional, argument, parse
from bodvcl.config.schema import STRICT, UserPath
from bodvcl.errors import DataError


@dataclass
class TableOptions:
    """Make a table of runs: a row per pre-training, a column per data set and metric.

    Runs that differ only in their seed are joined to mean ± standard deviation, splits of a data set to their
    mean."""

    __pydantic_config__ = STRICT

    runs: Annotated[Positional[tuple[str, ...]], Field(min_length=1), argument(metavar="RUN [RUN ...]")]
    """Run folders, folders of runs such as that of a sweep, files of bodvcl probe --out, or patterns."""
    format: Literal["markdown", "latex", "csv"] = "markdown"
    """markdown; latex: with the rules of booktabs; csv: a line per run and metric, nothing joined."""
    out: Annotated[UserPath | None, argument(metavar="FILE")] = None
    """Write the table to this file. None: print it."""
    metric: Annotated[tuple[str, ...], argument(metavar="METRIC [METRIC ...]")] = ()
    """Metrics to show: top1 mAP "digit, z, ridge top1". Without this option: of every evaluation the metric
    that papers print, and of probes all."""
    title: str = ""
    """First words of the caption."""
    skip_unfinished: Flag = False
    """Leave out runs that have not finished. Without it they are an error."""


def main(argv: Sequence[str] | None = None) -> int:
    """Print or write the table; returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    return run_verb("table", lambda: _table(parse(TableOptions, arguments, prog="bodvcl table")))


def _table(options: TableOptions) -> int:
    with uninterrupted():
        from bodvcl.cli.writable import check_writable
        from bodvcl.runs.folder import write_atomically
        from bodvcl.tables.find import find_places
        from bodvcl.tables.formats import latex, markdown
        from bodvcl.tables.records import read_records
        from bodvcl.tables.sheet import make_sheet, wanted
        from bodvcl.tables.values import csv_of_records

    if options.out is not None:
        check_writable("--out", options.out)
    places, unfinished = find_places(options.runs)
    if unfinished and not options.skip_unfinished:
        raise DataError(
            f"{len(unfinished)} of the runs not finished: {', '.join(map(str, unfinished))}; "
            "wait for them, or leave them out with --skip-unfinished"
        )
    if not places:
        raise DataError("no run has finished: nothing to make a table of")
    records = wanted([record for place in places for record in read_records(place)], options.metric)
    if not records:
        raise DataError(f"no number in {', '.join(options.runs)}: every label of the probes was skipped")
    if options.format == "csv":
        text = csv_of_records(records)
    else:
        sheet = make_sheet(records, options.title)
        if options.format == "latex":
            text = latex(sheet.table, sheet.table.title, sheet.notes)
        else:
            notes = "".join(f"\n{note}\n" for note in sheet.notes)
            text = f"**{sheet.table.title}**\n\n{markdown(sheet.table)}{notes}"
    if options.out is None:
        print(text, end="")
    else:
        write_atomically(options.out, text.encode())
        print(f"wrote {options.out}")
    return 0
