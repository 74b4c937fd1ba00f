"""The plot of a sweep: every measurement over the number that varies, or a point per row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from bodvcl.sweep.axes import Cell, as_number, named, numbers
from bodvcl.sweep.file import SweepFile
from bodvcl.sweep.measure import Measured, is_cost
from bodvcl.sweep.plan import Plan
from bodvcl.tables.statistics import OverSeeds, over_seeds

_PER_ROW = 3
_WIDE = 30
"""Ratio of the largest to the smallest number from which on the axis is logarithmic."""
_PAPER = "#777777"


def plot(sweep: SweepFile, plan: Plan, found: Measured, path: Path) -> None:
    """Draw one panel per column of shares, and one per column of the paper, in grey."""
    columns = [column for column in found.columns if not is_cost(column)]
    over = sweep.over
    axis = None if over is not None or sweep.columns else numbers(sweep)
    paper = {} if over is not None or sweep.paper is None else sweep.paper.values
    wide = min(_PER_ROW, len(columns) + len(paper))
    tall = -(-(len(columns) + len(paper)) // _PER_ROW)
    height = 2.8 if axis or over else 0.3 * len(found.rows) + 1.2
    figure, panels = plt.subplots(
        tall, wide, figsize=(3.4 * wide + 1.2, height * tall), squeeze=False, constrained_layout=True
    )
    for number, panel in enumerate(panels.flat):
        first = number % _PER_ROW == 0
        if number >= len(columns) + len(paper):
            panel.set_axis_off()
        elif number >= len(columns):
            column, by_row = list(paper.items())[number - len(columns)]
            values = {row: over_seeds({0: value}, None) for row, value in by_row.items()}
            _draw(panel, sweep, plan, found, values, axis, names=first, colour=_PAPER)
            panel.set_title(f"paper: {column}", fontsize=9, color=_PAPER)
        else:
            column = columns[number]
            values = _column(found, column)
            if over is not None:
                _over_column(panel, values, _column(found, over), over)
            else:
                _draw(panel, sweep, plan, found, values, axis, names=first)
            panel.set_title(column, fontsize=9)
        panel.tick_params(labelsize=8)
    figure.suptitle(sweep.title, fontsize=10)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def _column(found: Measured, column: str) -> dict[str, OverSeeds]:
    return {row: entry.sum for (row, name), entry in found.entries.items() if name == column}


def _draw(
    panel: Axes,
    sweep: SweepFile,
    plan: Plan,
    found: Measured,
    values: Mapping[str, OverSeeds],
    axis: str | None,
    *,
    names: bool,
    colour: str | None = None,
) -> None:
    if axis is not None:
        _over_number(panel, plan.cells, values, axis, colour)
        panel.set_ylabel("" if colour else "%", fontsize=8)
    else:
        _points(panel, [row for row in found.rows if row in values], values, names, colour)


def _over_number(
    panel: Axes, cells: Sequence[Cell], values: Mapping[str, OverSeeds], axis: str, colour: str | None
) -> None:
    """A line for each combination of the other axes."""
    lines: dict[str, list[tuple[float, OverSeeds]]] = {}
    for cell in cells:
        place = as_number(cell[axis])
        if named(cell) in values and place is not None:
            rest = named({name: text for name, text in cell.items() if name != axis})
            lines.setdefault(rest, []).append((place, values[named(cell)]))
    for name, points in lines.items():
        points.sort(key=lambda point: point[0])
        places, found = zip(*points)
        means, spreads = [s.mean for s in found], [s.spread or 0 for s in found]
        panel.errorbar(
            places, means, yerr=spreads, marker="o", markersize=4, capsize=2, label=name, color=colour
        )
    labels = dict.fromkeys(cell[axis] for cell in cells)
    ticks = [as_number(text) or 0.0 for text in labels]
    positive = [place for place in ticks if place > 0]
    if positive and max(positive) / min(positive) >= _WIDE:
        if min(ticks) <= 0:
            panel.set_xscale("symlog", linthresh=min(positive))
        else:
            panel.set_xscale("log")
    panel.set_xticks(ticks, list(labels))
    panel.minorticks_off()
    panel.set_xlabel(axis, fontsize=8)
    if len(lines) > 1:
        panel.legend(fontsize=7)


def _over_column(
    panel: Axes, values: Mapping[str, OverSeeds], places: Mapping[str, OverSeeds], over: str
) -> None:
    """A named point per row, over another column of the table."""
    for row in (row for row in values if row in places):
        x, y = places[row], values[row]
        panel.errorbar(x.mean, y.mean, xerr=x.spread or 0, yerr=y.spread or 0, marker="o", markersize=4)
        panel.annotate(row, (x.mean, y.mean), (4, 3), textcoords="offset points", fontsize=7)
    panel.margins(x=0.2)
    panel.set_xlabel(over, fontsize=8)
    panel.set_ylabel("%", fontsize=8)


def _points(
    panel: Axes, rows: Sequence[str], values: Mapping[str, OverSeeds], names: bool, colour: str | None
) -> None:
    heights = list(range(len(rows), 0, -1))
    found = [values[row] for row in rows]
    means, spreads = [s.mean for s in found], [s.spread or 0 for s in found]
    panel.errorbar(means, heights, xerr=spreads, fmt="o", markersize=4, capsize=2, color=colour)
    panel.set_yticks(heights, rows if names else [""] * len(rows))
    panel.set_ylim(0.5, len(rows) + 0.5)
    panel.set_xlabel("" if colour else "%", fontsize=8)
