"""All near pairs of the rows of a file, and the nearest rows of every row.

Up to :data:`EXACT` rows every pair is compared, in blocks. Above, FAISS compares a row with those of the
cells next to it (IVF), so that a pair can be missed; what is found has exact scores.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from bodvcl.errors import ConfigError
from bodvcl.search.codes import faiss_is_there
from bodvcl.text.progress import progress_bar

EXACT = 100_000
"""Up to so many rows, every pair is compared."""
MOST_PAIRS = 2_000_000
"""More near pairs are refused: the threshold says nothing then."""
_BLOCK = 512
_AT_ONCE = 2**26
"""Entries of the vectors that are gathered at once."""
_PROBED = 16
"""Cells in which the neighbours of a row are looked for."""
_TRAIN_PER_CELL = 40

Block = TypeVar("Block")
Pairs = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]
"""Row, other row, score."""


def near_pairs(
    joint: NDArray[np.float32], video: NDArray[np.int64], least: float, exact: int = EXACT
) -> Pairs:
    """Pairs of rows of different videos with a score of at least ``least``; the first row is the smaller.

    Args:
        joint: ``(rows, width)`` from :meth:`bodvcl.search.space.Space.joint`.
        video: number of the video of every row.
        least: smallest score.
        exact: up to so many rows, every pair is compared.

    Raises:
        ConfigError: more than :data:`MOST_PAIRS`.
    """
    found: list[Pairs] = []
    count = 0
    blocks = _near_exact(joint, least) if _all(joint, exact) else _near_cells(joint, least)
    for rows, others, scores in _with_progress(blocks):
        kept = (rows < others) & (video[rows] != video[others]) & (scores >= least)
        found.append((rows[kept], others[kept], scores[kept]))
        count += int(kept.sum())
        if count > MOST_PAIRS:
            raise ConfigError(
                f"--above {least:g}: more than {MOST_PAIRS:,} pairs of rows have such a score; "
                "give a larger one"
            )
    rows, others, scores = (np.concatenate(parts) for parts in zip(*found))
    return rows, others, scores


def nearest(
    joint: NDArray[np.float32], video: NDArray[np.int64], count: int, exact: int = EXACT
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Scores and numbers ``(rows, count)`` of the nearest rows of other videos, the nearest first.

    Where there are fewer, scores are -inf and numbers -1.
    """
    most = int(np.bincount(np.unique(video, return_inverse=True)[1]).max())
    blocks = (
        _nearest_exact(joint, video, count)
        if _all(joint, exact)
        else _nearest_cells(joint, video, count, most)
    )
    scores, numbers = (np.concatenate(parts) for parts in zip(*_with_progress(blocks)))
    numbers[~np.isfinite(scores)] = -1
    return scores, numbers


def _all(joint: NDArray[np.float32], exact: int) -> bool:
    if len(joint) <= exact:
        return True
    if faiss_is_there():
        return False
    warnings.warn(
        f"faiss is not installed: all pairs of {len(joint):,} rows are compared, which is slow; "
        "pip install bodvcl[search]",
        stacklevel=2,
    )
    return True


def _with_progress(blocks: Iterator[Block]) -> Iterator[Block]:
    """Hand the blocks on, with a bar if they take long."""
    return iter(progress_bar(blocks, desc="comparing", unit="block", delay=3))


def _near_exact(joint: NDArray[np.float32], least: float) -> Iterator[Pairs]:
    for start in range(0, len(joint), _BLOCK):
        scores = joint[start : start + _BLOCK] @ joint[start:].T
        rows, others = np.nonzero(scores >= least)
        yield start + rows, start + others, scores[rows, others]


def _nearest_exact(
    joint: NDArray[np.float32], video: NDArray[np.int64], count: int
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.int64]]]:
    rows, videos = torch.from_numpy(joint), torch.tensor(video)
    for start in range(0, len(joint), _BLOCK):
        block = slice(start, start + _BLOCK)
        scores = rows[block] @ rows.T
        scores.masked_fill_(videos[block, None] == videos, -math.inf)
        best = scores.topk(min(count, len(rows)), dim=1)
        yield best.values.numpy(), best.indices.numpy()


def _near_cells(joint: NDArray[np.float32], least: float) -> Iterator[Pairs]:
    index = _cells(joint)
    radius = 2 - 2 * least + 1e-3  # squared distance of unit vectors; half precision is a little off
    for start in range(0, len(joint), _BLOCK):
        ends, _, others = index.range_search(joint[start : start + _BLOCK], radius)
        rows = start + np.repeat(np.arange(len(ends) - 1), np.diff(ends.astype(np.int64)))
        yield rows, others, np.einsum("rd,rd->r", joint[rows], joint[others])


def _nearest_cells(
    joint: NDArray[np.float32], video: NDArray[np.int64], count: int, most: int
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.int64]]]:
    """``most``: largest number of rows of a video, which its own search finds first."""
    index = _cells(joint)
    wanted = count + most
    at_once = max(1, min(_BLOCK, _AT_ONCE // (wanted * joint.shape[1])))
    for start in range(0, len(joint), at_once):
        block = joint[start : start + at_once]
        _, others = index.search(block, wanted)
        scores = np.einsum("rd,rkd->rk", block, joint[others])
        own = video[start : start + at_once, None] == video[others]
        scores[(others < 0) | own] = -np.inf
        order = np.argsort(-scores, axis=1, kind="stable")[:, :count]
        yield np.take_along_axis(scores, order, 1), np.take_along_axis(others, order, 1)


def _cells(joint: NDArray[np.float32]) -> Any:
    """Rows in half precision, in cells around 4 sqrt(rows) centres."""
    import faiss

    rows, width = joint.shape
    cells = round(4 * math.sqrt(rows))
    index: Any = faiss.index_factory(width, f"IVF{cells},SQfp16", faiss.METRIC_L2)
    index.cp.max_points_per_centroid = _TRAIN_PER_CELL
    index.train(joint[np.sort(np.random.default_rng(0).permutation(rows)[: _TRAIN_PER_CELL * cells])])
    index.add(joint)
    index.nprobe = _PROBED
    return index
