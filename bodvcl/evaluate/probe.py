"""Probes: what can be read from frozen features?

:func:`probe_table` is the whole of it: features and labels of a training and a test part in, one
:class:`Score` for each kind of features, label column, probe and metric out. It knows nothing of videos or
encoders.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from bodvcl.evaluate.classifiers import knn_scores, neighbours, ridge_scores, sgd_scores
from bodvcl.evaluate.intervals import hit_interval
from bodvcl.evaluate.labels import ClassTask, class_task, halves
from bodvcl.evaluate.names import PROBES, Probe

RANKS = (1, 5, 10, 20, 50)
"""Retrieval is counted among this many nearest videos."""

Features = Tensor | NDArray[np.floating]
Labels = Sequence[Any] | Mapping[str, Sequence[Any]]


@dataclass(frozen=True)
class Score:
    """One metric of one probe on one label column and one kind of features. Shares are in [0, 1]."""

    features: str
    """Name of the kind of features."""
    semantic: str
    """Name of the label column."""
    probe: Probe
    metric: str
    """"top1", "top5", or "R@k"."""
    chance: float = math.nan
    """What a probe that has learned nothing reaches: top1 and top5 by answering the most frequent classes of
    the test part, R@k by drawing k training videos."""
    classes: int = 0
    train: int = 0
    """Videos in the training part."""
    test: int = 0
    hits: NDArray[np.bool_] | None = None
    """Test video by test video, was the answer right? In the order of the test part, those with a usable
    label only."""
    test_classes: tuple[str, ...] = ()
    """Class of each of these test videos."""
    skipped: str | None = None
    """Why there is no result, if there is none; all of the above is then empty."""

    @property
    def value(self) -> float:
        """Share of hits; NaN where it was skipped."""
        return math.nan if self.hits is None else float(self.hits.mean())

    @property
    def interval(self) -> tuple[float, float]:
        """95% bootstrap interval of the value over test videos."""
        return (math.nan, math.nan) if self.hits is None else hit_interval(self.hits)

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What tells this score from the others of a table."""
        return self.features, self.semantic, self.probe, self.metric

    def per_class(self) -> dict[str, tuple[float, int]]:
        """Share of hits and number of test videos of each class."""
        if self.hits is None:
            return {}
        names = np.array(self.test_classes)
        return {
            str(name): (float(self.hits[names == name].mean()), int((names == name).sum()))
            for name in np.unique(names)
        }


def probe_table(
    features_train: Features | Mapping[str, Features],
    labels_train: Labels,
    features_test: Features | Mapping[str, Features],
    labels_test: Labels,
    *,
    probes: Sequence[Probe] = ("ridge", "knn", "retrieval"),
    k: int = 200,
    temperature: float = 0.07,
    ranks: Sequence[int] = RANKS,
    seed: int = 0,
) -> list[Score]:
    """Probe frozen features. A pure function of its arguments.

    - ``ridge``: linear probe in closed form, see :func:`~bodvcl.evaluate.classifiers.ridge_scores`.
    - ``sgd``: the paper's linear probe, see :func:`~bodvcl.evaluate.classifiers.sgd_scores`.
    - ``knn``: weighted vote, see :func:`~bodvcl.evaluate.classifiers.knn_scores`.
    - ``retrieval``: R@k, the share of test videos with a training video of their class among the ``k``
      nearest, by cosine of features from which the mean of their own part was subtracted.

    Classifiers give top1, and top5 where there are more than five classes. A rank of as many videos as there
    are to train on, or more, is left out.

    Args:
        features_train: ``(N, D)`` float, or several kinds of features by name; one kind is named "features".
        labels_train: N values of any type, or several label columns by name; one column is named "label".
            None, NaN and blank text stand for an unknown label; such videos are left out, and so are classes
            that only one part has.
        features_test, labels_test: likewise, M rows, with the same names.
        probes: which to run, in this order.
        k, temperature: of ``knn``.
        ranks: of ``retrieval``.
        seed: of ``sgd``.

    Returns:
        Scores, ordered by kind of features, label column, probe and metric. Where a column cannot be probed
        or a feature is not finite, a single score says why in ``skipped``.

    Raises:
        ValueError: numbers of rows or names that do not agree, or an unknown probe.
    """
    for probe in probes:
        if probe not in PROBES:
            raise ValueError(f"no probe named {probe!r}; there are: {', '.join(PROBES)}")
    kinds_train, kinds_test = _named(features_train, "features"), _named(features_test, "features")
    columns_train, columns_test = _named(labels_train, "label"), _named(labels_test, "label")
    for what, a, b in (("features", kinds_train, kinds_test), ("labels", columns_train, columns_test)):
        if a.keys() != b.keys():
            raise ValueError(f"{what} to train on are named {[*a]}, those to test on {[*b]}")
    for kinds, columns in ((kinds_train, columns_train), (kinds_test, columns_test)):
        for kind, name in ((kind, name) for kind in kinds for name in columns):
            if len(kinds[kind]) != len(columns[name]):
                raise ValueError(
                    f"{len(kinds[kind])} rows of {kind} and {len(columns[name])} labels of {name}; "
                    "expected as many of each"
                )
    tasks = {name: class_task(columns_train[name], columns_test[name]) for name in columns_train}
    table: list[Score] = []
    for kind in kinds_train:
        x, x_test = _array(kinds_train[kind]), _array(kinds_test[kind])
        for name, task in tasks.items():
            if task.skipped:
                table.append(_skipped(kind, name, probes[0], task, task.skipped))
                continue
            a, b = x[task.train], x_test[task.test]
            broken = int((~np.isfinite(a).all(1)).sum() + (~np.isfinite(b).all(1)).sum())
            if broken:
                why = f"features of {broken} of {len(a) + len(b)} videos are not finite"
                table.append(_skipped(kind, name, probes[0], task, why))
                continue
            for probe in probes:
                if probe == "retrieval":
                    outcomes = _retrieval(a, b, task, ranks)
                else:
                    scores = _classifier(probe, k, temperature, seed)(a, task.train_classes, b)
                    outcomes = _classification(scores, task)
                table += [
                    Score(
                        features=kind,
                        semantic=name,
                        probe=probe,
                        metric=metric,
                        chance=chance,
                        classes=len(task.names),
                        train=len(a),
                        test=len(b),
                        hits=hits,
                        test_classes=tuple(task.names[c] for c in task.test_classes),
                    )
                    for metric, hits, chance in outcomes
                ]
    return table


def probe_videos(
    features: Mapping[str, Features],
    labels: Mapping[str, Sequence[Any]],
    train: NDArray[np.bool_] | None = None,
    seed: int = 0,
    **options: Any,
) -> list[Score]:
    """:func:`probe_table` of videos that come in one piece.

    ``train (N,)`` bool: the rows to train on, the others test; None: half of each class, drawn by ``seed``
    for each label column. ``options``: those of :func:`probe_table`.
    """
    kinds = {kind: _array(values) for kind, values in features.items()}
    table: list[Score] = []
    for name, column in labels.items():
        chosen = halves(column, seed) if train is None else train
        rows, others = np.flatnonzero(chosen), np.flatnonzero(~chosen)
        table += probe_table(
            {kind: values[rows] for kind, values in kinds.items()},
            {name: [column[row] for row in rows]},
            {kind: values[others] for kind, values in kinds.items()},
            {name: [column[row] for row in others]},
            seed=seed,
            **options,
        )
    return table


def left_out_scores(kinds: Sequence[str], left_out: Mapping[str, str], probe: Probe) -> list[Score]:
    """A score without a result for each kind of features and each column that is not probed.

    ``left_out``: column to the reason.
    """
    return [Score(kind, name, probe, "top1", skipped=why) for name, why in left_out.items() for kind in kinds]


Outcome = tuple[str, NDArray[np.bool_], float]
"""Metric, hits, chance."""


def _classifier(probe: Probe, k: int, temperature: float, seed: int) -> Callable[..., NDArray[np.float64]]:
    if probe == "ridge":
        return ridge_scores
    if probe == "sgd":
        return lambda *parts: sgd_scores(*parts, seed=seed)
    return lambda *parts: knn_scores(*parts, k=k, temperature=temperature)


def _classification(scores: NDArray[np.float64], task: ClassTask) -> list[Outcome]:
    order = np.argsort(-scores, axis=1, kind="stable")
    right = order == task.test_classes[:, None]
    frequent = np.sort(np.bincount(task.test_classes))[::-1] / len(task.test)
    tops = (1, 5) if len(task.names) > 5 else (1,)
    return [(f"top{n}", right[:, :n].any(1), float(frequent[:n].sum())) for n in tops]


def _retrieval(
    train: NDArray[np.float64], test: NDArray[np.float64], task: ClassTask, ranks: Sequence[int]
) -> list[Outcome]:
    usable = [rank for rank in ranks if rank < len(train)]
    if not usable:
        return []
    _, nearest = neighbours(train - train.mean(0), test - test.mean(0), max(usable))
    same = task.train_classes[nearest] == task.test_classes[:, None]
    counts = np.bincount(task.train_classes)
    return [
        (f"R@{rank}", same[:, :rank].any(1), _drawn(len(train), counts, rank, task.test_classes))
        for rank in usable
    ]


def _drawn(total: int, counts: NDArray[np.int64], rank: int, wanted: NDArray[np.int64]) -> float:
    """Mean probability that ``rank`` of ``total`` videos, drawn at once, hold one of the wanted class."""
    misses = np.array([math.comb(total - count, rank) / math.comb(total, rank) for count in counts.tolist()])
    return float(1 - misses[wanted].mean())


def _skipped(kind: str, name: str, probe: Probe, task: ClassTask, why: str) -> Score:
    return Score(kind, name, probe, "top1", classes=len(task.names), skipped=why)


def _named(values: Any, name: str) -> dict[str, Any]:
    return dict(values) if isinstance(values, Mapping) else {name: values}


def _array(values: Features) -> NDArray[np.float64]:
    if isinstance(values, Tensor):
        values = values.detach().cpu().double().numpy()
    return np.asarray(values, dtype=np.float64)
