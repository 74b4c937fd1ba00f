"""The names in a sweep file: axes, labels and rows that its other parts refer to."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import replace

from bodvcl.errors import ConfigError
from bodvcl.sweep.axes import named
from bodvcl.sweep.file import Axis, SweepFile, label
from bodvcl.text.words import suggestion


def check_names(sweep: SweepFile) -> None:
    """Refuse a file whose parts name axes or labels that are not there.

    Raises:
        ConfigError: names the part and what there is.
    """
    there = ", ".join(sweep.vary) or "none"
    named_axes = [("baseline", name) for name in sweep.baseline]
    named_axes += [("columns", sweep.columns)] if sweep.columns is not None else []
    for place, name in named_axes:
        if name not in sweep.vary:
            raise ConfigError(f"{place}: no axis {name!r}{suggestion(name, sweep.vary)}; there are: {there}")
    for name, value in sweep.baseline.items():
        axis = sweep.vary[name]
        if isinstance(axis, str):  # its labels are known when checkpoints are given
            continue
        labels = _labels(axis)
        if label(value) not in labels:
            raise ConfigError(f"baseline.{name}: no label {label(value)!r}; there are: {', '.join(labels)}")
    known = _rows(sweep)
    given = [row for by_row in (sweep.paper.values.values() if sweep.paper else ()) for row in by_row]
    if unknown := [row for row in given if known is not None and row not in known]:
        hint = suggestion(unknown[0], known or ())
        raise ConfigError(f"paper.values: no row {unknown[0]!r}{hint}; there are: {'; '.join(known or ())}")
    if sweep.columns in sweep.baseline:
        raise ConfigError(f"baseline.{sweep.columns}: the labels of this axis are columns, not rows")


def of_its_rows(sweep: SweepFile) -> SweepFile:
    """The sweep with those of the paper's numbers that belong to its rows."""
    known = _rows(sweep)
    if known is None:
        return sweep
    values = {
        column: kept
        for column, by_row in (sweep.paper.values if sweep.paper else {}).items()
        if (kept := {row: value for row, value in by_row.items() if row in known})
    }
    return replace(sweep, paper=replace(sweep.paper, values=values) if sweep.paper and values else None)


def _rows(sweep: SweepFile) -> list[str] | None:
    """Names of the rows; None: an axis stands for checkpoints that are given later."""
    axes = {name: axis for name, axis in sweep.vary.items() if name != sweep.columns}
    if any(isinstance(axis, str) for axis in axes.values()):
        return None
    return [named(dict(zip(axes, row))) for row in itertools.product(*map(_labels, axes.values()))]


def _labels(axis: Axis) -> list[str]:
    if isinstance(axis, Mapping):
        return list(axis)
    return [label(value) for value in axis]
