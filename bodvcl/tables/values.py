"""Records one by one, as CSV: for a spreadsheet or another program."""

from __future__ import annotations

from collections.abc import Sequence

from bodvcl.tables.formats import comma_separated
from bodvcl.tables.records import Record

HEADINGS = (
    "run",
    "method",
    "backbone",
    "data",
    "split",
    "kind",
    "metric",
    "value",
    "seed",
    "pre-training seed",
    "protocol",
    "commit",
)


def csv_of_records(records: Sequence[Record]) -> str:
    """A line per record; values are shares in [0, 1], as they were measured."""
    return comma_separated(
        HEADINGS,
        [
            (
                record.place,
                record.origin.method,
                record.origin.backbone,
                record.data,
                record.fold,
                record.kind,
                record.metric,
                record.value,
                record.seed,
                record.origin.seed,
                "; ".join(f"{name}={value}" for name, value in record.protocol.items()),
                record.commit,
            )
            for record in records
        ],
    )
