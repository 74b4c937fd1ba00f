"""Rows that are far from all others."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from bodvcl.search.neighbours import nearest
from bodvcl.search.space import Space


class Outlier(NamedTuple):
    """A row and how far it is.

    Attributes:
        row: its number.
        distance: mean of 1 - score over its nearest rows of other videos.
        nearest: the nearest of them.
        score: its score.
    """

    row: int
    distance: float
    nearest: int
    score: float


def outliers(space: Space, motion: float, neighbours: int) -> list[Outlier]:
    """All rows that have a row of another video beside them, the furthest first.

    Args:
        space: the rows.
        motion: weight of motion in [0, 1].
        neighbours: number of nearest rows to average over; all, where there are fewer.
    """
    scores, numbers = nearest(space.joint(motion), space.embeddings.video, neighbours)
    known = numbers >= 0
    count = known.sum(1)
    distance = 1 - np.where(known, scores, 0).sum(1) / np.maximum(count, 1)
    return [
        Outlier(row, float(distance[row]), int(numbers[row, 0]), float(scores[row, 0]))
        for row in np.argsort(-distance, kind="stable").tolist()
        if count[row]
    ]
