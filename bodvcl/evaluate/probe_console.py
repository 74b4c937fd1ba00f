"""Prints the probe at the end of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bodvcl.text.tables import Listing, Row
from bodvcl.text.words import plain

_HEADINGS = {"backbone+std": "with\nstd", "static": "static\nstream", "dynamic": "dynamic\nstream"}
"""Kinds of features shown beside the backbone's mean over time, and the headings of their columns."""

_HINT = "to probe a skipped column: bodvcl probe --checkpoint RUN --labels COLUMN"


def probe_summary(rows: Sequence[Mapping[str, Any]]) -> list[Listing | str]:
    """The table for :func:`bodvcl.text.tables.show`, 80 columns wide, and a line for each skipped column.

    The table has one line for each label column: the accuracy in percent of the backbone's features,
    untrained and pre-trained. Beside them, as far as the rows have them, those of the pre-trained features
    with their standard deviation over time, and of the pre-trained static and dynamic streams.

    Args:
        rows: rows of :func:`bodvcl.evaluate.comparison.comparison_rows`.
    """
    backbone = [row for row in rows if row["features"] == "backbone"]
    beside = [name for name in _HEADINGS if any(row["features"] == name for row in rows)]
    lines = [_line(row, rows, beside) for row in backbone if not row["skipped"]]
    skipped = [f"{plain(row['semantic'])} skipped: {row['skipped']}" for row in backbone if row["skipped"]]
    table = Listing(
        title="Linear probe of the frozen encoder, accuracy in % (gain ± 95% interval)",
        names=("semantic", "kind"),
        columns=("chance", "untrained", "pre-\ntrained", "gain", *(_HEADINGS[name] for name in beside)),
        rows=lines,
    )
    return [*([table] if lines else []), *skipped, *([_HINT] if skipped else [])]


def _line(row: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], beside: Sequence[str]) -> Row:
    values = {
        "chance": _percent(row["chance"]),
        "untrained": _percent(row["untrained"]),
        "pre-\ntrained": _percent(row["pretrained"]),
        "gain": f"{100 * row['gain']:+.1f} ±{100 * row['gain_margin']:.1f}",
    }
    for name in beside:
        values[_HEADINGS[name]] = _percent(_find(rows, name, row["semantic"]).get("pretrained"))
    styles = {"gain": _style(row["gain"], row["gain_margin"])}
    return Row((row["semantic"], row["kind"] or ""), values, styles)


def _find(rows: Sequence[Mapping[str, Any]], features: str, semantic: str) -> Mapping[str, Any]:
    matches = (row for row in rows if row["features"] == features and row["semantic"] == semantic)
    return next(matches, {})


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f}"


def _style(gain: float, margin: float) -> str:
    return "" if abs(gain) <= margin else "green" if gain > 0 else "red"
