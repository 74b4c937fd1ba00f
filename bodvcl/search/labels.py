"""Labels beside neighbours and clusters: how often they agree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bodvcl.embed.file import Embeddings
from bodvcl.evaluate.labels import class_name


def label_columns(embeddings: Embeddings) -> list[str]:
    """Names of the label columns; a column of splits says nothing about a video."""
    return [column for column in embeddings.labels if column.casefold() != "split"]


def label_of(embeddings: Embeddings, column: str, row: int) -> str | None:
    """The label of a row, as :func:`~bodvcl.evaluate.labels.class_name` gives it."""
    return class_name(embeddings.labels[column][row])


def shared_labels(embeddings: Embeddings, row: int, hits: Sequence[int]) -> dict[str, tuple[int, int]]:
    """For every label that a row has: how many hits share it, of how many that have such a label."""
    found = {}
    for column in label_columns(embeddings):
        own = label_of(embeddings, column, row)
        others = [name for hit in hits if (name := label_of(embeddings, column, hit)) is not None]
        if own is not None and others:
            found[column] = (others.count(own), len(others))
    return found


def sharing(labels: Sequence[str | None], numbers: NDArray[np.int64]) -> tuple[float, float] | None:
    """How often the nearest rows have the label of a row, and how often rows drawn at random would.

    Args:
        labels: label of every row; None: it has none, and is left out.
        numbers: ``(rows, count)``, numbers of the nearest rows of every row; -1: there are fewer.

    Returns:
        Two shares in [0, 1]; None if fewer than two labels occur, or no row has a neighbour with a label.
    """
    names = [class_name(value) for value in labels]
    classes = sorted({name for name in names if name is not None})
    of = np.array([-1 if name is None else classes.index(name) for name in names])
    counts = np.bincount(of[of >= 0], minlength=len(classes))
    near = np.where(numbers >= 0, of[numbers], -1)
    counted = (near >= 0) & (of[:, None] >= 0)
    if len(classes) < 2 or not counted.any():
        return None
    share = float((near == of[:, None])[counted].mean())
    return share, float((counts * (counts - 1)).sum() / (counts.sum() * (counts.sum() - 1)))


class Agreement(NamedTuple):
    """How clusters agree with a label.

    Attributes:
        purity: share of the rows whose label is the most frequent one of their cluster.
        largest: share of the most frequent label, the purity of one cluster.
        nmi: normalised mutual information, 0 (independent) to 1 (the same division).
    """

    purity: float
    largest: float
    nmi: float


def agreement(clusters: NDArray[np.int64], labels: Sequence[str | None]) -> Agreement | None:
    """Purity and normalised mutual information over the rows that have a label; None if fewer than two labels
    occur."""
    from sklearn.metrics import normalized_mutual_info_score

    named = [
        (cluster, name)
        for cluster, value in zip(clusters.tolist(), labels)
        if (name := class_name(value)) is not None
    ]
    every = Counter(name for _, name in named)
    if len(every) < 2:
        return None
    most: dict[int, int] = {}
    for (cluster, _), count in Counter(named).items():
        most[cluster] = max(most.get(cluster, 0), count)
    nmi = normalized_mutual_info_score([name for _, name in named], [cluster for cluster, _ in named])
    return Agreement(sum(most.values()) / len(named), max(every.values()) / len(named), float(nmi))
