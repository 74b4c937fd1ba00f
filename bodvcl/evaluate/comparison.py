"""Two encoders side by side: the rows of probe.json at the end of a run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bodvcl.evaluate.intervals import gain_interval
from bodvcl.evaluate.score import Score
from bodvcl.runs.folder import write_atomically


def comparison_rows(
    before: Sequence[Score], after: Sequence[Score], kinds: Mapping[str, str] | None = None
) -> list[dict[str, Any]]:
    """The untrained encoder beside the pre-trained one, score by score.

    Args:
        before: scores of the untrained encoder.
        after: scores of the pre-trained encoder on the same videos with the same options.
        kinds: label column to "static" or "dynamic".

    Returns:
        Flat rows of JSON types. ``gain`` is the pre-trained accuracy minus the untrained one, ``gain_margin``
        half the width of its 95% interval. A skipped row has the reason in ``skipped`` and no accuracies.
    """
    earlier = {score.key: score for score in before}
    return [_row(earlier[score.key], score, (kinds or {}).get(score.semantic)) for score in after]


def save_probe(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write rows as ``{"rows": [...]}``, atomically."""
    text = json.dumps({"rows": list(rows)}, indent=1, allow_nan=False)
    write_atomically(path, f"{text}\n".encode())


def _row(before: Score, after: Score, kind: str | None) -> dict[str, Any]:
    row = {"semantic": after.semantic, "kind": kind, "features": after.features, "classes": after.classes}
    skipped = after.skipped or before.skipped
    if before.hits is None or after.hits is None:
        return row | {"skipped": skipped}
    low, high = gain_interval(before.hits, after.hits)
    return row | {
        "skipped": None,
        "train": after.train,
        "test": after.test,
        "chance": after.chance,
        "untrained": before.value,
        "untrained_low": before.interval[0],
        "untrained_high": before.interval[1],
        "pretrained": after.value,
        "pretrained_low": after.interval[0],
        "pretrained_high": after.interval[1],
        "gain": after.value - before.value,
        "gain_margin": (high - low) / 2,
    }
