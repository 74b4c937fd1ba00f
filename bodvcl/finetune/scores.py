"""Scores of predictions: accuracy, accuracy by class, and mean average precision. Pure functions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torchmetrics.functional.classification import multiclass_confusion_matrix

from bodvcl.evaluate.average_precision import average_precisions
from bodvcl.evaluate.intervals import hit_interval
from bodvcl.evaluate.score import MAP

_FIVE = 5


@dataclass(frozen=True)
class Scores:
    """Scores of a test.

    Attributes:
        metrics: name to value in [0, 1]; the first is the one that papers print.
        intervals: name to its 95% interval, for the metrics that are a share of the videos.
        confusion: int64 (classes, classes): test videos by class, and by what they were taken for. None: a
            video can have several classes.
        by_class: float64 (classes,): accuracy, or average precision, of each class; NaN: none is tested.
    """

    metrics: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    confusion: NDArray[np.int64] | None
    by_class: NDArray[np.float64]


def class_scores(probabilities: NDArray[np.float64], targets: NDArray[np.int64]) -> Scores:
    """Scores where every video has one class.

    ``top1``: share of the videos whose most probable class is the right one. ``top5``: share of those where
    it is among the first five; only with more than five classes. ``mean_class``: mean of the accuracies of
    the classes that are tested.

    Args:
        probabilities: (N, C).
        targets: (N,), class numbers.
    """
    count = probabilities.shape[1]
    order = np.argsort(-probabilities, axis=1, kind="stable")
    hits = {"top1": order[:, 0] == targets}
    if count > _FIVE:
        hits["top5"] = (order[:, :_FIVE] == targets[:, None]).any(1)
    confusion = multiclass_confusion_matrix(
        torch.from_numpy(order[:, 0].copy()), torch.from_numpy(targets), num_classes=count
    ).numpy()
    tested = confusion.sum(1)
    by_class = np.full(count, np.nan)
    np.divide(confusion.diagonal(), tested, out=by_class, where=tested > 0)
    metrics = {name: float(hit.mean()) for name, hit in hits.items()}
    return Scores(
        metrics | {"mean_class": float(np.nanmean(by_class))},
        {name: hit_interval(hit) for name, hit in hits.items()},
        confusion,
        by_class,
    )


def label_scores(probabilities: NDArray[np.float64], targets: NDArray[np.float32]) -> Scores:
    """Scores where a video can have several classes: ``map``, the mean of the average precisions of the
    classes that some video has.

    Args:
        probabilities: (N, C).
        targets: (N, C), 0 or 1.
    """
    by_class = average_precisions(probabilities, targets)
    return Scores({MAP: float(np.nanmean(by_class))}, {}, None, by_class)


def score(probabilities: NDArray[np.float64], targets: torch.Tensor) -> Scores:
    """:func:`class_scores` for targets (N,), :func:`label_scores` for targets (N, C)."""
    scores = class_scores if targets.dim() == 1 else label_scores
    return scores(probabilities, targets.numpy())
