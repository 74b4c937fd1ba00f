"""Join the records of runs that differ only in seed or fold."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bodvcl.errors import DataError
from bodvcl.runs.results import Fact
from bodvcl.tables.records import TESTED, TRAINED, Record

Column = tuple[str, str, str]
"""Data set, kind and metric."""


@dataclass(frozen=True)
class Joined:
    """One cell of a table.

    Attributes:
        mean: mean over seeds; of each seed the mean over folds.
        spread: standard deviation over seeds (n - 1); None for one seed.
        seeds: number of seeds.
        folds: folds that each seed has, sorted; none if the data set has one split.
    """

    mean: float
    spread: float | None
    seeds: int
    folds: tuple[str, ...]


def join(records: Sequence[Record]) -> Joined:
    """Join the records of one row and column.

    Raises:
        DataError: a seed lacks a fold that another one has, or has one twice.
    """
    by_seed: dict[tuple[object, ...], dict[str, Record]] = defaultdict(dict)
    for record in records:
        folds = by_seed[_repetition(record)]
        if record.fold in folds:
            raise DataError(
                f"{folds[record.fold].place} and {record.place} hold the same measurement "
                f"({record.metric}, {_named(record.data, record.fold)}, seed {record.seed}): give one of them"
            )
        folds[record.fold] = record
    first, *others = by_seed.values()
    for other in others:
        if other.keys() != first.keys():
            record = next(iter(other.values()))
            raise DataError(
                f"{record.place} has the folds {_list(other)} of {record.data}, and "
                f"{next(iter(first.values())).place} has {_list(first)}: a mean needs the same of every seed"
            )
    values = [statistics.fmean(record.value for record in folds.values()) for folds in by_seed.values()]
    spread = statistics.stdev(values) if len(values) > 1 else None
    folds_of_all = tuple(sorted(fold for fold in first if fold))
    return Joined(statistics.fmean(values), spread, len(values), folds_of_all)


def refuse_other_protocols(records: Sequence[Record]) -> None:
    """Refuse a column whose numbers were measured in different ways.

    Raises:
        DataError: names the field that differs, both values and both runs.
    """
    columns: dict[Column, Record] = {}
    for record in records:
        first = columns.setdefault((record.data, record.kind, record.metric), record)
        for name, one, other in differences(_protocol(first), _protocol(record)):
            raise DataError(
                f"{record.kind} on {record.data} was not measured in the same way: {name} is {one!r} in "
                f"{first.place} and {other!r} in {record.place}; make a table of each"
            )


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """Names whose values differ, with both values; None for one that is missing."""
    for name in dict.fromkeys([*one, *other]):
        if one.get(name) != other.get(name):
            yield name, one.get(name), other.get(name)


def _protocol(record: Record) -> dict[str, Fact]:
    """What must be the same; folds have different numbers of videos."""
    sizes = (TRAINED, TESTED) if record.fold else ()
    return {name: value for name, value in record.protocol.items() if name not in sizes}


def _repetition(record: Record) -> tuple[object, ...]:
    return record.seed, record.origin.seed, record.origin.options.get("checkpoint")


def _named(data: str, fold: str) -> str:
    return f"{data}@{fold}" if fold else data


def _list(folds: Mapping[str, Record]) -> str:
    return ", ".join(sorted(folds))
