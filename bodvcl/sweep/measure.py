"""What the finished runs of a sweep measured, row by row and seed by seed."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from bodvcl.runs.contents import parse_metrics
from bodvcl.runs.results import RESULTS
from bodvcl.sweep.axes import Cell, named
from bodvcl.sweep.file import SweepFile, label
from bodvcl.sweep.job import SUMMARY, is_finished
from bodvcl.sweep.plan import Plan, SweepJob
from bodvcl.tables.records import read_records
from bodvcl.tables.statistics import OverSeeds, over_seeds

SECONDS = "seconds"
PER_STEP = "seconds per step"
MEMORY = "memory, GB"
COSTS = (SECONDS, PER_STEP, MEMORY)
"""Columns that are no shares."""


@dataclass(frozen=True)
class Entry:
    """One cell of the table.

    Attributes:
        row: name of the row.
        column: name of the column.
        values: seed to value: % for shares, otherwise as the column says.
        sum: what they add up to.
    """

    row: str
    column: str
    values: Mapping[int, float]
    sum: OverSeeds


@dataclass(frozen=True)
class Measured:
    """All that a sweep has measured so far.

    Attributes:
        rows: names of the rows, in their order.
        columns: names of the columns: shares first, then costs.
        entries: row and column to entry; what is not finished is not there.
        baselines: row to the row that its differences are taken to.
        data: data sets that were measured on.
        measured: all names of measurements, also those that are not shown.
    """

    rows: Sequence[str]
    columns: Sequence[str]
    entries: Mapping[tuple[str, str], Entry]
    baselines: Mapping[str, str] = field(default_factory=dict)
    data: Sequence[str] = ()
    measured: Sequence[str] = ()


def measure(sweep: SweepFile, plan: Plan) -> Measured:
    """Read the results of every job that has finished.

    Raises:
        DataError: a result cannot be read.
    """
    values: dict[tuple[str, str], dict[int, float]] = defaultdict(dict)
    data: dict[str, None] = {}
    measured: dict[str, None] = {}
    for job in (job for chain in plan.chains for job in chain if is_finished(job)):
        row = named(_without(job.cell, sweep.columns))
        for name, value, source in _numbers(job, costs=not (job.step or sweep.columns)):
            if source:
                measured[name] = None
                if sweep.show and name not in sweep.show:
                    continue
            prefix = [job.cell[sweep.columns]] if sweep.columns else []
            column = ": ".join([*prefix, *([job.step] if job.step else []), name])
            values[row, column][job.seed] = value
            data |= dict.fromkeys([source] if source else [])
    rows = list(dict.fromkeys(named(_without(cell, sweep.columns)) for cell in plan.cells))
    found = dict.fromkeys(column for _, column in values)
    columns = sorted(found, key=lambda column: (is_cost(column), _position(column, sweep.show)))
    baselines = dict(_baselines(sweep, plan))
    entries = {}
    for (row, column), by_seed in values.items():
        base = values.get((baselines[row], column)) if row in baselines else None
        entries[row, column] = Entry(row, column, by_seed, over_seeds(by_seed, base))
    return Measured(rows, columns, entries, baselines, list(data), list(measured))


def is_cost(column: str) -> bool:
    """Whether a column is time or memory rather than a share in %."""
    return column.rpartition(": ")[2] in COSTS


def _position(column: str, show: Sequence[str]) -> int:
    """Where the file names a measurement; sorting keeps the order of those that are at one place."""
    name = column.rpartition(": ")[2]
    return show.index(name) if name in show else len(show)


def _numbers(job: SweepJob, *, costs: bool) -> Iterator[tuple[str, float, str]]:
    """Name, value and data set of each number that a job measured; costs have no data set."""
    for record in read_records(job.run) if job.result != SUMMARY else ():
        yield record.metric, 100 * record.value, record.data
    if not costs:
        return
    found: dict[str, float] = {}  # a probe notes none
    if (job.run / RESULTS).exists():
        found = {SECONDS: float(_json(job.run / RESULTS)["seconds"])}
    elif (job.run / SUMMARY).exists():
        found = training_costs(job.run)
    for name, value in found.items():
        yield name, value, ""


def training_costs(run: Path) -> dict[str, float]:
    """Time and memory of a pre-training, from the speed that it logged: also right if it was interrupted.

    The time of a step is the median over the lines of the log, the whole time the mean times the number of
    steps.
    """
    config = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    columns = parse_metrics((run / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
    if "clips_per_second" not in columns:
        return {}
    times = config["batch_size"] * config["clip"]["views"] / columns["clips_per_second"]
    steps = _json(run / "summary.json")["steps"]
    costs = {SECONDS: float(np.nanmean(times)) * steps, PER_STEP: float(np.nanmedian(times))}
    if "memory_gb" in columns:
        costs[MEMORY] = float(np.nanmax(columns["memory_gb"]))
    return costs


def _baselines(sweep: SweepFile, plan: Plan) -> Iterator[tuple[str, str]]:
    """Each row that has a baseline, with it."""
    if not sweep.baseline:
        return
    wanted = {axis: label(value) for axis, value in sweep.baseline.items()}
    for cell in plan.cells:
        base = {**cell, **wanted}
        if base != cell:
            yield named(_without(cell, sweep.columns)), named(_without(base, sweep.columns))


def _without(cell: Cell, axis: str | None) -> Cell:
    return {name: text for name, text in cell.items() if name != axis}


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
