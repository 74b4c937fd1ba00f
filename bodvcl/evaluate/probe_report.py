"""The result of a probe as JSON and as tables."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bodvcl.errors import UserError
from bodvcl.evaluate.intervals import gain_interval
from bodvcl.evaluate.score import MAP, Score
from bodvcl.runs.folder import write_atomically
from bodvcl.text.tables import Listing, Row
from bodvcl.text.words import plain


@dataclass(frozen=True)
class ProbeReport:
    """Scores of one encoder, optionally of a second one on the same videos, and the facts behind them.

    Attributes:
        facts: name to a value of a JSON type: checkpoint, data, split, clips, control, ...
        scores: scores of the encoder.
        against: scores of the second encoder for the same probes; empty without one.
    """

    facts: Mapping[str, Any]
    scores: Sequence[Score]
    against: Sequence[Score] = ()

    def rows(self) -> list[dict[str, Any]]:
        """A flat row of JSON types for each score.

        With a second encoder, ``against`` is its value and ``gain`` the difference to it, with the ends of
        its 95% interval. A skipped row has the reason in ``skipped`` and no values.
        """
        others = {score.key: score for score in self.against}
        return [_row(score, others.get(score.key)) for score in self.scores]

    def save(self, path: Path) -> None:
        """Write facts, rows and the accuracy of each class as JSON, atomically.

        Raises:
            UserError: the file cannot be written.
        """
        classes = [
            {
                "features": score.features,
                "semantic": score.semantic,
                "probe": score.probe,
                "classes": {
                    name: {"ap" if score.metric == MAP else "top1": v, "test": n}
                    for name, (v, n) in score.per_class().items()
                },
            }
            for score in self.scores
            if score.metric in ("top1", MAP) and not score.skipped
        ]
        content = {**self.facts, "rows": self.rows(), "per_class": classes}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, f"{json.dumps(content, indent=1, allow_nan=False)}\n".encode())
        except OSError as error:
            raise UserError(f"cannot write {path}: {error.strerror or error}") from error

    def tables(self) -> list[Listing | str]:
        """Tables for :func:`bodvcl.text.tables.show`: values, and gains if there is a second encoder."""
        rows = [row for row in self.rows() if not row["skipped"]]
        gain = f"gain over {self.facts['against']}, in points"
        parts: list[Listing | str] = []
        for title, chosen in (
            ("accuracy in %", [row for row in rows if row["metric"].startswith("top")]),
            ("mean average precision in %", [row for row in rows if row["metric"] == MAP]),
            ("retrieval of training videos, % found", [row for row in rows if row["probe"] == "retrieval"]),
        ):
            if chosen:
                around = "" if chosen[0]["metric"] == MAP else " (± 95% interval)"
                parts.append(_table(f"{title}{around}", chosen, _value, chance=True))
                if self.against:
                    parts.append(_table(f"{title}: {gain}{around}", chosen, _gain, chance=False))
        skipped = [score for score in self.scores if score.skipped]
        lines = dict.fromkeys(f"{plain(score.semantic)} skipped: {score.skipped}" for score in skipped)
        return [*parts, *lines]


def _row(score: Score, other: Score | None) -> dict[str, Any]:
    row: dict[str, Any] = {
        "features": score.features,
        "semantic": score.semantic,
        "probe": score.probe,
        "metric": score.metric,
        "classes": score.classes,
        "skipped": score.skipped or (other.skipped if other else None),
    }
    if row["skipped"]:
        return row
    if score.hits is None:  # mean average precision, which has no interval
        row |= {"train": score.train, "test": score.test, "chance": score.chance}
        row |= {"value": score.value, "low": None, "high": None}
        if other is not None:
            row |= {"against": other.value, "gain": score.value - other.value}
            row |= {"gain_low": None, "gain_high": None}
        return row
    low, high = score.interval
    row |= {"train": score.train, "test": score.test, "chance": score.chance}
    row |= {"value": score.value, "low": low, "high": high}
    if other is not None and other.hits is not None:
        gain_low, gain_high = gain_interval(other.hits, score.hits)
        row |= {"against": other.value, "gain": score.value - other.value}
        row |= {"gain_low": gain_low, "gain_high": gain_high}
    return row


Cell = tuple[str, str]
"""Text and style."""


def _table(
    title: str, rows: Sequence[Mapping[str, Any]], cell: Callable[[Mapping[str, Any]], Cell], *, chance: bool
) -> Listing:
    """One line per label column and kind of features, one column per probe and metric."""
    several = len({row["probe"] for row in rows}) > 1

    def heading(row: Mapping[str, Any]) -> str:
        metric = "mAP" if row["metric"] == MAP else row["metric"]
        return f"{row['probe']}\n{metric}" if several or row["probe"] != "retrieval" else metric

    lines = []
    for semantic in dict.fromkeys(row["semantic"] for row in rows):
        chosen = [row for row in rows if row["semantic"] == semantic]
        for kind in dict.fromkeys(row["features"] for row in chosen):
            cells = {heading(row): cell(row) for row in chosen if row["features"] == kind}
            values, styles = ({name: parts[n] for name, parts in cells.items()} for n in (0, 1))
            lines.append(Row((semantic, kind), values, styles))
        if chance:
            at_chance = {heading(row): f"{100 * row['chance']:.1f}" for row in chosen}
            lines.append(Row(("", "chance"), at_chance, style="dim", last=True))
    return Listing(title, ("label", "features"), list(dict.fromkeys(map(heading, rows))), lines)


def _value(row: Mapping[str, Any]) -> Cell:
    if row["low"] is None:
        return f"{100 * row['value']:.1f}", ""
    return f"{100 * row['value']:.1f} ±{50 * (row['high'] - row['low']):.1f}", ""


def _gain(row: Mapping[str, Any]) -> Cell:
    low, high = row["gain_low"], row["gain_high"]
    if low is None:
        return f"{100 * row['gain']:+.1f}", ""
    style = "green" if low > 0 else "red" if high < 0 else ""
    return f"{100 * row['gain']:+.1f} ±{50 * (high - low):.1f}", style
