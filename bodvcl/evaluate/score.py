"""The result of a probe."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from bodvcl.evaluate.intervals import hit_interval
from bodvcl.evaluate.names import Probe

MAP = "map"
"""Name of the metric of a column in which a video can have several classes."""


@dataclass(frozen=True)
class Score:
    """One metric of one probe on one label column and one kind of features. Shares are in [0, 1]."""

    features: str
    """Name of the kind of features."""
    semantic: str
    """Name of the label column."""
    probe: Probe
    metric: str
    """"top1", "top5", "R@k", or "map": mean average precision, where a video can have several classes."""
    chance: float = math.nan
    """What a probe that has learned nothing reaches: top1 and top5 by answering the most frequent classes of
    the test part, R@k by drawing k training videos, map by scores that say nothing."""
    classes: int = 0
    train: int = 0
    """Number of training videos."""
    test: int = 0
    """Number of test videos."""
    hits: NDArray[np.bool_] | None = None
    """``(test,)``: for each test video with a usable label, in order, whether the answer was right."""
    test_classes: tuple[str, ...] = ()
    """Class of each of these test videos."""
    average: float | None = None
    """The value of a metric that is no share of hits."""
    class_values: Mapping[str, tuple[float, int]] = field(default_factory=dict)
    """For such a metric: class to its value and to the number of test videos that have it."""
    skipped: str | None = None
    """Reason why there is no result, or None. With a reason there are no hits, and ``value`` is NaN."""

    @property
    def value(self) -> float:
        """Share of hits, or ``average``; NaN if the score was skipped."""
        if self.average is not None:
            return self.average
        return math.nan if self.hits is None else float(self.hits.mean())

    @property
    def interval(self) -> tuple[float, float]:
        """95% bootstrap interval of the value over test videos; NaN for ``average``."""
        return (math.nan, math.nan) if self.hits is None else hit_interval(self.hits)

    @property
    def key(self) -> tuple[str, str, str, str]:
        """Identifies this score among the others of a table."""
        return self.features, self.semantic, self.probe, self.metric

    def per_class(self) -> dict[str, tuple[float, int]]:
        """Share of hits, or average precision, and number of test videos of each class."""
        if self.hits is None:
            return dict(self.class_values)
        names = np.array(self.test_classes)
        return {
            str(name): (float(self.hits[names == name].mean()), int((names == name).sum()))
            for name in np.unique(names)
        }


def left_out_scores(kinds: Sequence[str], left_out: Mapping[str, str], probe: Probe) -> list[Score]:
    """A score without a result for each kind of features and each column that is not probed.

    Args:
        kinds: kinds of features.
        left_out: column to the reason.
        probe: probe that the scores name.
    """
    return [Score(kind, name, probe, "top1", skipped=why) for name, why in left_out.items() for kind in kinds]
