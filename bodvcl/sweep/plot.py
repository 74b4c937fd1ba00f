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
from bodvcl.sweep.measure import Entry, Measured, is_cost
from bodvcl.sweep.plan import Plan

_PER_ROW = 3
_WIDE = 30
"""Ratio of the largest to the smallest number from which on the axis is logarithmic."""
_PAPER = "#999999"


def plot(sweep: SweepFile, plan: Plan, found: Measured, path: Path) -> None:
    """Draw one panel per column of shares."""
    columns = [column for column in found.columns if not is_cost(column)]
    over = sweep.over
    axis = None if over is not None or sweep.columns else numbers(sweep)
    height = 2.8 if axis or over else 0.3 * len(found.rows) + 1.2
    count = -(-len(columns) // _PER_ROW)
    figure, panels = plt.subplots(
        count,
        min(_PER_ROW, len(columns)),
        figsize=(3.4 * min(_PER_ROW, len(columns)) + 1.2, height * count),
        squeeze=False,
        constrained_layout=True,
    )
    for panel in panels.flat[len(columns) :]:
        panel.set_axis_off()
    for number, (panel, column) in enumerate(zip(panels.flat, columns)):
        chosen = {row: e for (row, name), e in found.entries.items() if name == column}
        if axis is not None:
            _over_number(panel, plan.cells, chosen, axis)
            if sweep.paper is not None and number == 0 and len(sweep.vary) == 1:
                _of_paper(panel, sweep.paper.values)
        elif over is not None:
            places = {row: e for (row, name), e in found.entries.items() if name == over}
            _over_column(panel, chosen, places, over)
        else:
            _points(panel, [row for row in found.rows if row in chosen], chosen, names=number % _PER_ROW == 0)
        panel.set_title(column, fontsize=9)
        panel.tick_params(labelsize=8)
    figure.suptitle(sweep.title, fontsize=10)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def _over_number(panel: Axes, cells: Sequence[Cell], chosen: Mapping[str, Entry], axis: str) -> None:
    """A line for each combination of the other axes."""
    lines: dict[str, list[tuple[float, Entry]]] = {}
    for cell in cells:
        if named(cell) in chosen:
            place = as_number(cell[axis])
            assert place is not None
            rest = named({name: text for name, text in cell.items() if name != axis})
            lines.setdefault(rest, []).append((place, chosen[named(cell)]))
    for name, points in lines.items():
        points.sort(key=lambda point: point[0])
        panel.errorbar(
            [place for place, _ in points],
            [entry.sum.mean for _, entry in points],
            yerr=[entry.sum.spread or 0 for _, entry in points],
            marker="o",
            markersize=4,
            capsize=2,
            label=name if len(lines) > 1 else "measured",
        )
    labels = dict.fromkeys(cell[axis] for cell in cells)
    places = [as_number(text) or 0.0 for text in labels]
    positive = [place for place in places if place > 0]
    if positive and max(positive) / min(positive) >= _WIDE:
        panel.set_xscale("symlog", linthresh=min(positive)) if min(places) <= 0 else panel.set_xscale("log")
    panel.set_xticks(places, list(labels))
    panel.minorticks_off()
    panel.set_xlabel(axis, fontsize=8)
    panel.set_ylabel("%", fontsize=8)
    if len(lines) > 1:
        panel.legend(fontsize=7)


def _of_paper(panel: Axes, values: Mapping[str, Mapping[str, float]]) -> None:
    """The paper's first column, on a scale of its own: other data, other values."""
    column, by_row = next(iter(values.items()))
    points = sorted((place, value) for row, value in by_row.items() if (place := as_number(row)) is not None)
    if not points:
        return
    other = panel.twinx()
    other.plot(*zip(*points), color=_PAPER, linestyle="--", marker="s", markersize=3)
    other.set_ylabel(f"paper: {column}", fontsize=7, color=_PAPER)
    other.tick_params(labelsize=7, colors=_PAPER)


def _over_column(panel: Axes, chosen: Mapping[str, Entry], places: Mapping[str, Entry], over: str) -> None:
    """A named point per row, over another column of the table."""
    for row, entry in chosen.items():
        if row in places:
            x, y = places[row].sum, entry.sum
            panel.errorbar(x.mean, y.mean, xerr=x.spread or 0, yerr=y.spread or 0, marker="o", markersize=4)
            panel.annotate(row, (x.mean, y.mean), (4, 3), textcoords="offset points", fontsize=7)
    panel.margins(x=0.2)
    panel.set_xlabel(over, fontsize=8)
    panel.set_ylabel("%", fontsize=8)


def _points(panel: Axes, rows: Sequence[str], chosen: Mapping[str, Entry], *, names: bool) -> None:
    heights = range(len(rows), 0, -1)
    sums = [chosen[row].sum for row in rows]
    panel.errorbar(
        [s.mean for s in sums], heights, xerr=[s.spread or 0 for s in sums], fmt="o", markersize=4, capsize=2
    )
    panel.set_yticks(heights, rows if names else [""] * len(rows))
    panel.set_xlabel("%", fontsize=8)
