"""The data sets that come with the package: rendered on first use."""

from __future__ import annotations

from pathlib import Path

from bodvcl.config.schema import TrainConfig
from bodvcl.data.made import digits, shapes

KINDS: dict[str, dict[str, str]] = {
    "shapes": {"background": "static", "shape": "static", "brightness": "dynamic", "trajectory": "dynamic"},
    "digits": {"digit": "static", "trajectory": "dynamic"},
}
"""Built-in data set to its labels and the kind of semantic that each one is."""


def prepare_built_in(config: TrainConfig) -> Path | None:
    """``labels.csv`` of the built-in data set that ``config.data`` names, rendered if need be; None for the
    user's own data."""
    if config.data == "shapes":
        return shapes.prepare(config.shapes, workers=config.workers)
    if config.data == "digits":
        return digits.prepare(config.digits, workers=config.workers)
    return None
