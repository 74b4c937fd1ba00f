"""Tables and plot of the comparison."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from bodvcl.compare.summary import Cost, Line
from bodvcl.compare.variants import PLAIN
from bodvcl.tables import formats
from bodvcl.text.tables import Listing, Row


def tables(lines: Sequence[Line], costs: Sequence[Cost]) -> list[Listing]:
    """One table per data set and method: a row per variant, a column per semantic and kind of features, and
    the cost of the variant."""
    found = []
    cost_of = {(cost.data, cost.method, cost.variant): cost for cost in costs}
    for data, method in dict.fromkeys((line.data, line.method) for line in lines):
        chosen = [line for line in lines if (line.data, line.method) == (data, method)]
        first = {_column(line): f"{line.untrained:.1f}" for line in reversed(chosen)}
        rows = [Row(("untrained",), first)]
        for variant in dict.fromkeys(line.variant for line in chosen):
            cells = {_column(line): _cell(line) for line in chosen if line.variant == variant}
            cost = cost_of[data, method, variant]
            time = "" if cost.time is None else f"{cost.time:.2f}x"
            empty = "" if cost.empty is None else f"{100 * cost.empty:.1f}%"
            rows.append(Row((variant,), {**cells, "training time": time, "empty streams": empty}))
        columns = [*dict.fromkeys(map(_column, chosen)), "training time", "empty streams"]
        title = (
            f"{data}, {method}: accuracy in %, mean ± standard deviation over {chosen[0].seeds} seeds "
            "(difference to plain ± 95% interval)"
        )
        found.append(Listing(title, ("variant",), columns, rows))
    return found


def markdown(tables: Sequence[Listing]) -> str:
    """The tables as Markdown."""
    parts = []
    for table in tables:
        name, _, what = table.title.partition(": ")
        parts.append(f"**{name}**: {what}\n\n" + formats.markdown(table))
    return "\n".join(parts)


def plot(lines: Sequence[Line], path: Path) -> None:
    """Draw the accuracy of z: a panel per data set, method and semantic, a point per variant with its
    spread."""
    shown = [line for line in lines if line.features == "z"]
    groups = list(dict.fromkeys((line.data, line.method) for line in shown))
    semantics = {g: list(dict.fromkeys(x.semantic for x in shown if (x.data, x.method) == g)) for g in groups}
    variants = list(dict.fromkeys(line.variant for line in shown))
    columns = max(len(names) for names in semantics.values())
    size = (3.2 * columns + 1.5, len(groups) * (0.28 * len(variants) + 1.2))
    figure, axes = plt.subplots(len(groups), columns, figsize=size, squeeze=False, constrained_layout=True)
    for row, group in zip(axes, groups):
        for axis in row[len(semantics[group]) :]:
            axis.set_axis_off()
        for axis, semantic in zip(row, semantics[group]):
            chosen = [x for x in shown if (x.data, x.method) == group and x.semantic == semantic]
            _draw_panel(axis, chosen, names=axis is row[0])
    figure.savefig(path, dpi=130)
    plt.close(figure)


def _draw_panel(axis: Axes, lines: Sequence[Line], *, names: bool) -> None:
    """One semantic: a point per variant, and a dotted line at the plain method."""
    places = np.arange(len(lines))[::-1]
    means = [line.mean for line in lines]
    colours = ["#666666" if line.variant == PLAIN else "#0072b2" for line in lines]
    axis.errorbar(means, places, xerr=[x.spread or 0 for x in lines], fmt="none", ecolor="#999999")
    axis.scatter(means, places, c=colours, zorder=3)
    for line in lines:
        if line.variant == PLAIN:
            axis.axvline(line.mean, color="#666666", linewidth=0.8, linestyle=":")
    axis.set_yticks(places, [line.variant if names else "" for line in lines])
    first = lines[0]
    axis.set_title(f"{first.data}, {first.method}: {_label(first)}", fontsize=9)
    axis.set_xlabel("accuracy, %", fontsize=8)


def _column(line: Line) -> str:
    return f"{_label(line)}, {line.features}"


def _label(line: Line) -> str:
    return f"{line.semantic} ({line.kind})" if line.kind else line.semantic


def _cell(line: Line) -> str:
    text = f"{line.mean:.1f}" + (f" ± {line.spread:.1f}" if line.spread is not None else "")
    if line.gain is None:
        return text
    margin = f" ± {line.margin:.1f}" if line.margin is not None else ""
    return f"{text} ({line.gain:+.1f}{margin})"
