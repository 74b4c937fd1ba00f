"""What the trainings of the comparison add up to: accuracy, gain over the plain method, and cost."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bodvcl.compare.variants import PLAIN
from bodvcl.tables.records import SYMBOLS
from bodvcl.tables.statistics import over_seeds

ProbeRows = Sequence[Mapping[str, Any]]
"""The ``rows`` of a ``probe.json``."""


@dataclass(frozen=True)
class Cell:
    """One row of the comparison, over all seeds: data set, method, variant."""

    data: str
    method: str
    variant: str


@dataclass(frozen=True)
class Line:
    """Accuracy of one semantic, read from one kind of features in one cell, in %.

    Attributes:
        data: data set of the cell.
        method: method of the cell.
        variant: variant of the cell.
        semantic: label column.
        kind: static or dynamic; empty: not known.
        features: symbol of the features in the paper.
        mean: mean over seeds.
        spread: standard deviation over seeds; None for one seed.
        untrained: mean accuracy of the untrained encoders.
        gain: mean difference to the plain method with the same seed; None for the plain method itself.
        margin: half the 95% interval of the gain; None without a gain, and for one seed.
        seeds: number of seeds.
        tested: number of test videos; None: not known.
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
    tested: int | None = None


@dataclass(frozen=True)
class Ending:
    """How one training ended.

    Attributes:
        seconds: training time, without the evaluation.
        empty: share of the clips of the last logged batch whose static or dynamic stream is empty; None for
            a method without these streams.
    """

    seconds: float
    empty: float | None


@dataclass(frozen=True)
class Cost:
    """What one cell cost, and whether its streams were empty at the end.

    Attributes:
        data: data set of the cell.
        method: method of the cell.
        variant: variant of the cell.
        time: training time relative to the plain method with the same seed, mean over seeds; None without a
            plain method to compare with.
        empty: largest share of empty streams at the end over seeds; None without streams.
    """

    data: str
    method: str
    variant: str
    time: float | None
    empty: float | None


def costs(endings: Mapping[Cell, Sequence[Ending]]) -> list[Cost]:
    """One line per cell.

    Args:
        endings: cell to one ending per seed; the same seeds in every cell.
    """
    lines = []
    for cell, ends in endings.items():
        plain = endings.get(Cell(cell.data, cell.method, PLAIN))
        time = None
        if plain is not None:
            time = float(np.mean([e.seconds / p.seconds for e, p in zip(ends, plain, strict=True)]))
        empty = max((e.empty for e in ends if e.empty is not None), default=None)
        lines.append(Cost(cell.data, cell.method, cell.variant, time, empty))
    return lines


def summarise(runs: Mapping[Cell, Sequence[ProbeRows]], base: str = PLAIN) -> list[Line]:
    """From the probe rows of every seed to one line per cell, semantic and kind of features.

    Rows that the probe skipped have no accuracy and do not count; see :func:`skipped_labels`.

    Args:
        runs: cell to the ``rows`` of ``probe.json``, one list per seed; the same seeds in every cell.
        base: variant that gains are differences to.
    """
    accuracy: dict[tuple[Cell, str, str], dict[int, float]] = defaultdict(dict)
    untrained: dict[tuple[Cell, str, str], list[float]] = defaultdict(list)
    kinds: dict[str, str] = {}
    tested: dict[tuple[Cell, str], int | None] = {}
    for cell, seeds in runs.items():
        for seed, rows in enumerate(seeds):
            for row in rows:
                if row.get("skipped"):
                    continue
                key = (cell, row["semantic"], row["features"])
                accuracy[key][seed] = 100 * row["pretrained"]
                untrained[key].append(100 * row["untrained"])
                kinds[row["semantic"]] = row["kind"] or ""
                tested[cell, row["semantic"]] = row.get("test")
    lines = []
    for (cell, semantic, features), by_seed in accuracy.items():
        plain = accuracy.get((Cell(cell.data, cell.method, base), semantic, features), {})
        found = over_seeds(by_seed, None if cell.variant == base else plain)
        lines.append(
            Line(
                cell.data,
                cell.method,
                cell.variant,
                semantic,
                kinds[semantic],
                SYMBOLS[features],
                found.mean,
                found.spread,
                float(np.mean(untrained[cell, semantic, features])),
                found.gain,
                found.margin,
                found.count,
                tested[cell, semantic],
            )
        )
    return lines


def skipped_labels(runs: Mapping[Cell, Sequence[ProbeRows]]) -> list[str]:
    """A line for each label column of a data set that a probe skipped, with the reason."""
    return list(
        dict.fromkeys(
            f"{cell.data}, {row['semantic']}: {row['skipped']}"
            for cell, seeds in runs.items()
            for rows in seeds
            for row in rows
            if row.get("skipped")
        )
    )
