"""Writes .csv lists."""

from __future__ import annotations

import csv
from pathlib import Path


def write_list(path: Path, rows: list[dict[str, str]]) -> Path:
    """A .csv list; the columns are those of the first row."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path
