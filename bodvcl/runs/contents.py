"""The contents of a run folder, read leniently: a missing or broken file is left out, never an error."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import yaml
from numpy.typing import NDArray

from bodvcl.runs.analysis import SavedAnalysis, load_analysis

T = TypeVar("T")


@dataclass(frozen=True)
class RunFolder:
    """The contents of a run folder; empty where a file is missing."""

    path: Path
    config_text: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    """Metric name to one value per logged step; NaN where a step has none. No column is NaN throughout."""
    probe: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    analysis: SavedAnalysis | None = None
    unreadable: list[str] = field(default_factory=list)
    """File name and reason of every file that exists but could not be read."""


def read_run(path: Path) -> RunFolder:
    """Read those of config.yaml, metrics.jsonl, probe.json, summary.json and analysis.npz that exist."""
    unreadable: list[str] = []

    def read(name: str, load: Callable[[Path], T], empty: T) -> T:
        file = path / name
        if not file.is_file():
            return empty
        try:
            return load(file)
        except Exception as error:  # whatever it is, the rest of the report is still worth reading
            unreadable.append(f"{name}: {type(error).__name__}: {error}")
            return empty

    config_text = read("config.yaml", lambda file: file.read_text(encoding="utf-8"), "")
    return RunFolder(
        path=path,
        config_text=config_text,
        config=read("config.yaml", lambda _: _mapping(yaml.safe_load(config_text)), {}),
        metrics=read("metrics.jsonl", lambda file: parse_metrics(file.read_text("utf-8").splitlines()), {}),
        probe=read("probe.json", lambda file: _rows(_json(file)), []),
        summary=read("summary.json", lambda file: _mapping(_json(file)), {}),
        analysis=read("analysis.npz", load_analysis, None),
        unreadable=unreadable,
    )


def parse_metrics(lines: Iterable[str]) -> dict[str, NDArray[np.float64]]:
    """Lines of metrics.jsonl to columns in the order of steps.

    A line that is not a JSON object with a ``step``, such as one that a kill cut off, is skipped. If a step
    is logged twice, before and after an interruption, the later line counts.
    """
    by_step: dict[int, dict[str, Any]] = {}
    for line in lines:
        try:
            entry = json.loads(line)
            by_step[int(entry["step"])] = entry
        except (ValueError, TypeError, KeyError):
            continue
    entries = [by_step[step] for step in sorted(by_step)]
    names = {name: None for entry in entries for name in entry}
    columns = {name: np.array([_number(entry.get(name)) for entry in entries]) for name in names}
    return {name: column for name, column in columns.items() if np.isfinite(column).any()}


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else math.nan


def _json(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8"))


def _mapping(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"expected a mapping, found {type(value).__name__}")
    return value


def _rows(value: Any) -> list[dict[str, Any]]:
    rows = _mapping(value)["rows"]
    return [_mapping(row) for row in rows]
