"""Videos that are copies of another: which to keep, and which can go."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bodvcl.embed.file import Embeddings
from bodvcl.search.neighbours import Pairs


class Copy(NamedTuple):
    """A video that can go, because another that is kept has the same content.

    Attributes:
        row: first row of the video.
        kept: first row of the video that is kept.
        score: smallest score of its rows with the nearest row of the kept video.
    """

    row: int
    kept: int
    score: float


def copies(embeddings: Embeddings, pairs: Pairs) -> list[Copy]:
    """The videos that can go, those of one kept video side by side.

    A video is a copy of another if each of its rows has a near pair there. Videos are visited from the one
    with the most rows, and among these the largest file, to the smallest: one that is a copy of a video that
    is kept goes, any other is kept. So every copy is near to a video that is kept. (Union-find would join
    chains of pairs, whose ends need not be near.)

    Args:
        embeddings: the rows.
        pairs: from :func:`bodvcl.search.neighbours.near_pairs`.
    """
    _, starts, number, rows = np.unique(
        embeddings.video, return_index=True, return_inverse=True, return_counts=True
    )
    first = starts.tolist()
    near = _contained(number, rows, pairs)
    order = sorted(near, key=lambda v: (-rows[v], -embeddings.size[first[v]], embeddings.paths[first[v]]))
    kept: set[int] = set()
    found = []
    for video in order:
        score, of = max(
            ((score, other) for other, score in near[video].items() if other in kept), default=(0, -1)
        )
        if of < 0:
            kept.add(video)
        else:
            found.append(Copy(first[video], first[of], score))
    return sorted(found, key=lambda copy: (copy.kept, -copy.score, copy.row))


def _contained(
    number: NDArray[np.int64], rows: NDArray[np.int64], pairs: Pairs
) -> dict[int, dict[int, float]]:
    """For every video with a near pair: the videos that contain it, with the smallest score of its rows."""
    best: dict[tuple[int, int], dict[int, float]] = {}
    for row, other, score in zip(*(part.tolist() for part in pairs)):
        for one, two in ((row, other), (other, row)):
            of = best.setdefault((int(number[one]), int(number[two])), {})
            of[one] = max(of.get(one, score), score)
    near: dict[int, dict[int, float]] = {}
    for (video, other), scores in best.items():
        contained = near.setdefault(video, {})
        if len(scores) == rows[video]:
            contained[other] = min(scores.values())
    return near
