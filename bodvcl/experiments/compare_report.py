"""Table and plot of the comparison: mean and spread over seeds, and the difference to the plain method."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from bodvcl.experiments.statistics import mean_interval
from bodvcl.experiments.variants import PLAIN
from bodvcl.text.tables import Listing, Row

FEATURES = {"backbone": "z", "static": "Z_A", "dynamic": "Z_M"}


@dataclass(frozen=True)
class Cell:
    """One row of the comparison before the seeds: data set, method, variant."""

    data: str
    method: str
    variant: str


@dataclass(frozen=True)
class Line:
    """One semantic read from one kind of features in one cell. Accuracies in %.

    Attributes:
        kind: static or dynamic.
        mean, spread: over seeds; the spread is the standard deviation, None for one seed.
        untrained: mean accuracy of the untrained encoders.
        gain, margin: mean difference to the plain method with the same seed and half its 95% interval; None
        for the
            plain method itself, and where there is only one seed the margin.
    """

    data: str
    method: str
    variant: str
    semantic: str
    kind: str
    features: str
    mean: float
    spread: float | None
    untrained: float
    gain: float | None
    margin: float | None
    seeds: int


@dataclass(frozen=True)
class Ending:
    """How one training ended.

    Attributes:
        seconds: of training, without evaluation.
        empty: share of the clips of the last logged batch whose static or dynamic stream is empty; None for
            a method without these streams.
    """

    seconds: float
    empty: float | None


@dataclass(frozen=True)
class Cost:
    """What one cell took, and whether its streams lived.

    Attributes:
        time: training time relative to the plain method with the same seed, mean over seeds; None where
            there is no plain method to compare with.
        empty: largest share of empty streams at the end over seeds, None without streams.
    """

    data: str
    method: str
    variant: str
    time: float | None
    empty: float | None


def costs(endings: Mapping[Cell, Sequence[Ending]]) -> list[Cost]:
    """One line per cell; ``endings``: one per seed, the same seeds in every cell."""
    lines = []
    for cell, ends in endings.items():
        plain = endings.get(Cell(cell.data, cell.method, PLAIN))
        time = plain and float(np.mean([e.seconds / p.seconds for e, p in zip(ends, plain, strict=True)]))
        empty = max((e.empty for e in ends if e.empty is not None), default=None)
        lines.append(Cost(cell.data, cell.method, cell.variant, time, empty))
    return lines


def summarise(runs: Mapping[Cell, Sequence[Sequence[Mapping[str, Any]]]]) -> list[Line]:
    """From the probe rows of every seed to one line per cell, semantic and kind of features.

    Args:
        runs: cell to the ``rows`` of ``probe.json``, one list per seed, the same seeds in every cell.
    """
    accuracy: dict[tuple[Cell, str, str], list[float]] = {}
    untrained: dict[tuple[Cell, str, str], list[float]] = {}
    kinds: dict[str, str] = {}
    for cell, seeds in runs.items():
        for rows in seeds:
            for row in rows:
                key = (cell, row["semantic"], row["features"])
                accuracy.setdefault(key, []).append(100 * row["pretrained"])
                untrained.setdefault(key, []).append(100 * row["untrained"])
                kinds[row["semantic"]] = row["kind"]
    lines = []
    for (cell, semantic, features), values in accuracy.items():
        plain = accuracy.get((Cell(cell.data, cell.method, PLAIN), semantic, features))
        gain = margin = None
        if plain is not None and cell.variant != PLAIN:
            gain, half = mean_interval([a - b for a, b in zip(values, plain, strict=True)])
            margin = None if math.isnan(half) else half
        lines.append(
            Line(
                cell.data,
                cell.method,
                cell.variant,
                semantic,
                kinds[semantic],
                FEATURES[features],
                float(np.mean(values)),
                float(np.std(values, ddof=1)) if len(values) > 1 else None,
                float(np.mean(untrained[cell, semantic, features])),
                gain,
                margin,
                len(values),
            )
        )
    return lines


def tables(lines: Sequence[Line], costs: Sequence[Cost]) -> list[Listing]:
    """One table per data set and method: a row per variant, a column per semantic and kind of features, and
    what the variant costs."""
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
        names = [*table.names, *table.columns]
        rows = [f"| {' | '.join(names)} |", "|---" * len(names) + "|"]
        for row in table.rows:
            cells = [*row.names, *(row.values.get(column, "") for column in table.columns)]
            rows.append("|" + "|".join(f" {cell} " if cell else " " for cell in cells) + "|")
        name, _, what = table.title.partition(": ")
        parts.append(f"**{name}**: {what}\n\n" + "\n".join(rows) + "\n")
    return "\n".join(parts)


def plot(lines: Sequence[Line], path: Path) -> None:
    """Accuracy read from z: a panel per data set, method and semantic, a point per variant with its
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
            of = {x.variant: x for x in shown if (x.data, x.method) == group and x.semantic == semantic}
            places = np.arange(len(of))[::-1]
            means = [line.mean for line in of.values()]
            colours = ["#666666" if name == PLAIN else "#0072b2" for name in of]
            axis.errorbar(
                means, places, xerr=[x.spread or 0 for x in of.values()], fmt="none", ecolor="#999999"
            )
            axis.scatter(means, places, c=colours, zorder=3)
            if PLAIN in of:
                axis.axvline(of[PLAIN].mean, color="#666666", linewidth=0.8, linestyle=":")
            axis.set_yticks(places, list(of) if axis is row[0] else [""] * len(of))
            axis.set_title(f"{group[0]}, {group[1]}: {semantic} ({next(iter(of.values())).kind})", fontsize=9)
            axis.set_xlabel("accuracy, %", fontsize=8)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def _column(line: Line) -> str:
    return f"{line.semantic} ({line.kind}), {line.features}"


def _cell(line: Line) -> str:
    text = f"{line.mean:.1f}" + (f" ± {line.spread:.1f}" if line.spread is not None else "")
    if line.gain is None:
        return text
    margin = f" ± {line.margin:.1f}" if line.margin is not None else ""
    return f"{text} ({line.gain:+.1f}{margin})"
