"""Confidence intervals by bootstrap over test videos."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

RESAMPLES = 10_000
"""Number of bootstrap samples per interval."""


def bootstrap_interval(values: ArrayLike, span: tuple[float, float], seed: int = 0) -> tuple[float, float]:
    """95% percentile interval of the mean of one value per test video.

    Two made-up videos, one at each end of the possible range, are added to the sample: without them, the
    interval of a probe that is right on 20 of 20 videos would have no width. They shift and widen the
    interval by about one video in N, as Bonett and Price (2012) do for paired proportions.

    Args:
        values: (N,): one value per video: hits (0 or 1), or differences of hits (-1, 0 or 1).
        span: smallest and largest possible value.
        seed: seed of the resampling.

    Returns:
        Lower and upper end; the whole span if there is no video.
    """
    sample = np.asarray(values, dtype=np.float64)
    if not len(sample):
        return span
    distinct, counts = np.unique(np.concatenate([sample, span]), return_counts=True)
    total = counts.sum()
    draws = np.random.default_rng(seed).multinomial(total, counts / total, RESAMPLES)
    low, high = np.quantile(draws @ distinct / total, [0.025, 0.975])
    return float(low), float(high)


def hit_interval(hits: NDArray[np.bool_]) -> tuple[float, float]:
    """95% interval of the share of hits, in [0, 1]."""
    return bootstrap_interval(hits, (0.0, 1.0))


def gain_interval(before: NDArray[np.bool_], after: NDArray[np.bool_]) -> tuple[float, float]:
    """95% interval of ``mean(after) - mean(before)``, both on the same test videos, in [-1, 1].

    Videos are resampled in pairs, so that videos that are hard for both do not widen the interval.

    Raises:
        ValueError: the lengths differ.
    """
    if len(before) != len(after):
        raise ValueError(f"{len(before)} and {len(after)} test videos; expected the same ones in both")
    return bootstrap_interval(after.astype(np.int8) - before.astype(np.int8), (-1.0, 1.0))
