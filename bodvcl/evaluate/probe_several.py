"""Probes of a label column in which a video can have several classes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bodvcl.evaluate.average_precision import average_precisions
from bodvcl.evaluate.classifiers import neighbours, ridge_scores
from bodvcl.evaluate.names import Probe
from bodvcl.evaluate.score import MAP, Score
from bodvcl.evaluate.several import SeveralTask

Array = NDArray[np.float64]


def several_scores(
    kind: str,
    column: str,
    train: Array,
    test: Array,
    task: SeveralTask,
    probe: Probe,
    *,
    k: int,
    temperature: float,
    ranks: Sequence[int],
) -> list[Score]:
    """The scores of one probe: mAP of ``ridge`` and ``knn``, R@k of ``retrieval``.

    ``ridge`` and ``knn`` score each class by itself; ``retrieval`` looks for training videos that have one of
    the classes of the test video.

    Args:
        kind, column: names of the features and of the label column.
        train, test: features (N, D) and (M, D) of the rows of the task.
        task: which classes each video has.
        probe: ridge, knn or retrieval.
        k, temperature: neighbours that vote in knn, and the temperature of their votes.
        ranks: numbers of nearest videos that retrieval reports.

    Raises:
        ValueError: the probe knows only one class per video.
    """
    if probe == "retrieval":
        return [
            Score(
                kind, column, probe, f"R@{rank}", chance, len(task.names), len(train), len(test), hits=hits,
                test_classes=tuple("" for _ in hits),
            )
            for rank, hits, chance in _retrieval(train, test, task, ranks)
        ]  # fmt: skip
    if probe == "ridge":
        scores = _shares(ridge_scores(train, task.train_targets.astype(np.int64), test))
    elif probe == "knn":
        scores = several_votes(train, task.train_targets, test, k, temperature)
    else:
        raise ValueError(f"the probe {probe} knows only one class per video")
    found = average_precisions(scores, task.test_targets)
    counts = task.test_targets.sum(0).tolist()
    by_class = {name: (float(value), count) for name, value, count in zip(task.names, found, counts) if count}
    return [
        Score(
            kind, column, probe, MAP, task.chance, len(task.names), len(train), len(test),
            average=float(np.nanmean(found)), class_values=by_class,
        )
    ]  # fmt: skip


def several_votes(train: Array, targets: NDArray[np.bool_], test: Array, k: int, temperature: float) -> Array:
    """Share of the votes for each class ``(M, C)``: a neighbour votes for all of its classes.

    The ``k`` nearest training videos by cosine vote, each with weight ``exp(cosine / temperature)``.
    """
    similarity, nearest = neighbours(train, test, min(k, len(train)))
    votes = np.exp((similarity - similarity.max(1, keepdims=True)) / temperature)
    votes /= votes.sum(1, keepdims=True)
    shares = np.zeros((len(test), targets.shape[1]))
    for place in range(votes.shape[1]):
        shares += votes[:, place, None] * targets[nearest[:, place]]
    return np.clip(shares, 0.0, 1.0)


def _shares(scores: Array) -> Array:
    """Scores of any range in (0, 1), in the same order: what :func:`average_precisions` takes."""
    ordered = np.unique(scores, return_inverse=True)[1].reshape(scores.shape).astype(np.float64)
    return (ordered + 1) / (scores.size + 1)


def _retrieval(
    train: Array, test: Array, task: SeveralTask, ranks: Sequence[int]
) -> list[tuple[int, NDArray[np.bool_], float]]:
    usable = [rank for rank in ranks if rank < len(train)]
    if not usable:
        return []
    _, nearest = neighbours(train - train.mean(0), test - test.mean(0), max(usable))
    shared = np.asarray(task.test_targets.astype(np.int64) @ task.train_targets.T.astype(np.int64) > 0)
    same = np.take_along_axis(shared, nearest, axis=1)
    total, counts = len(train), shared.sum(1).tolist()
    return [
        (
            rank,
            np.asarray(same[:, :rank].any(1)),
            float(np.mean([1 - math.comb(total - count, rank) / math.comb(total, rank) for count in counts])),
        )
        for rank in usable
    ]
