"""The probe table in the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text


def console_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """A rich table from the rows of :func:`bodvcl.evaluate.comparison.comparison_rows`; fits 80 columns.

    One line for each label column: backbone features untrained and pre-trained, and, where the rows have
    them, what the pre-trained static and dynamic streams hold. Accuracies in percent. Below it, what was
    skipped.
    """
    backbone = [row for row in rows if row["features"] == "backbone"]
    streams = [name for name in ("static", "dynamic") if any(row["features"] == name for row in rows)]
    skipped = [f"{row['semantic']} skipped: {row['skipped']}" for row in backbone if row["skipped"]]
    table = Table(
        title="Linear probe of the frozen encoder, accuracy in % (gain ± 95% interval)",
        title_justify="left",
        title_style="bold",
        caption=Text("\n".join(skipped)) if skipped else None,
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    table.add_column("semantic")
    table.add_column("kind")
    for name in ("chance", "untrained", "pre-\ntrained", "gain", *(f"{name}\nstream" for name in streams)):
        table.add_column(name, justify="right", no_wrap=True)
    for row in backbone:
        if row["skipped"]:
            continue
        twins = [_find(rows, stream, row["semantic"]) for stream in streams]
        table.add_row(
            Text(row["semantic"]),
            Text(row["kind"] or ""),
            _percent(row["chance"]),
            _percent(row["untrained"]),
            _percent(row["pretrained"]),
            _gain(row["gain"], row["gain_margin"]),
            *(_percent(twin.get("pretrained")) for twin in twins),
        )
    return table


def _find(rows: Sequence[Mapping[str, Any]], features: str, semantic: str) -> Mapping[str, Any]:
    matches = (row for row in rows if row["features"] == features and row["semantic"] == semantic)
    return next(matches, {})


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f}"


def _gain(gain: float, margin: float) -> Text:
    style = "" if abs(gain) <= margin else "green" if gain > 0 else "red"
    return Text(f"{100 * gain:+.1f} ±{100 * margin:.1f}", style=style)
