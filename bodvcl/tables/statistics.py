"""Means over seeds: their spread, and their difference to a baseline with its confidence interval."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats


@dataclass(frozen=True)
class OverSeeds:
    """What several repetitions of one measurement add up to.

    Attributes:
        mean: their mean.
        spread: their standard deviation (n - 1); None for one repetition.
        gain: mean difference to the baseline with the same seed; None without a baseline.
        margin: half the 95% interval of the gain; None without a gain, and for one pair.
        count: number of repetitions.
    """

    mean: float
    spread: float | None
    gain: float | None
    margin: float | None
    count: int


def over_seeds(values: Mapping[int, float], baseline: Mapping[int, float] | None) -> OverSeeds:
    """Sum up repetitions.

    Args:
        values: seed to value; at least one.
        baseline: seed to the value of the baseline. Differences are taken seed by seed, over the seeds that
            both have. None: there is no baseline.
    """
    found = list(values.values())
    spread = float(np.std(found, ddof=1)) if len(found) > 1 else None
    base = baseline or {}
    differences = [value - base[seed] for seed, value in values.items() if seed in base]
    gain = margin = None
    if differences:
        gain, half = mean_interval(differences)
        margin = None if math.isnan(half) else half
    return OverSeeds(float(np.mean(found)), spread, gain, margin, len(found))


def mean_interval(values: Sequence[float]) -> tuple[float, float]:
    """Mean and half the width of its 95% interval (Student's t over seeds); for one value the width is
    NaN."""
    count = len(values)
    if count < 2:
        return float(np.mean(values)), math.nan
    half = stats.t.ppf(0.975, count - 1) * np.std(values, ddof=1) / math.sqrt(count)
    return float(np.mean(values)), float(half)
