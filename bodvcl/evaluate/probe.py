"""Probes: what can be read from frozen features?

:func:`probe_table` takes features and labels of a training and a test part, and returns one
:class:`~bodvcl.evaluate.score.Score` for each kind of features, label column, probe and metric. It knows
nothing of videos or encoders.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from bodvcl.evaluate.classifiers import knn_scores, neighbours, ridge_scores, sgd_scores
from bodvcl.evaluate.labels import ClassTask, class_name, class_task, halves
from bodvcl.evaluate.names import PROBES, Probe
from bodvcl.evaluate.probe_several import several_scores
from bodvcl.evaluate.score import MAP, Score
from bodvcl.evaluate.several import SeveralTask, several_task

RANKS = (1, 5, 10, 20, 50)
"""Retrieval is counted among this many nearest videos."""

Array = NDArray[np.float64]
Features = Tensor | NDArray[np.floating]
Labels = Sequence[Any] | Mapping[str, Sequence[Any]]
MetricHits = tuple[str, NDArray[np.bool_], float]
"""Name of a metric, its hits by test video, and its chance level."""


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
    separator: str | None = None,
) -> list[Score]:
    """Probe frozen features: a pure function of its arguments.

    - ``ridge``: linear probe in closed form, see :func:`~bodvcl.evaluate.classifiers.ridge_scores`.
    - ``sgd``: the paper's linear probe, see :func:`~bodvcl.evaluate.classifiers.sgd_scores`.
    - ``knn``: weighted vote, see :func:`~bodvcl.evaluate.classifiers.knn_scores`.
    - ``retrieval``: R@k, the share of test videos with a training video of their class among the ``k``
      nearest, by cosine of features after the mean of their own part is subtracted.

    Classifiers give top1, and top5 for more than five classes. A rank must be smaller than the number of
    training videos; larger ranks are left out.

    Args:
        features_train: ``(N, D)`` float, or several kinds of features by name; one kind is named "features".
        labels_train: N values of any type, or several label columns by name; one column is named "label".
            None, NaN and blank text mean an unknown label. Videos without a label are left out, and so are
            classes that only one part has.
        features_test: ``(M, D)`` float, or several kinds with the same names as ``features_train``.
        labels_test: M values, or several columns with the same names as ``labels_train``.
        probes: probes to run, in this order.
        k: neighbours that vote in ``knn``.
        temperature: temperature of the votes in ``knn``.
        ranks: numbers of nearest videos that ``retrieval`` reports.
        seed: seed of ``sgd``.
        separator: text between the classes of a label; a label may then hold several, and classifiers give
            "map", see :func:`~bodvcl.evaluate.probe_several.several_scores`. None: a label is one class.

    Returns:
        Scores, ordered by kind of features, label column, probe and metric. If a column cannot be probed
        or a feature is not finite, a single score gives the reason in ``skipped``.

    Raises:
        ValueError: numbers of rows or names that do not agree, an unknown probe, or ``sgd`` with a separator.
    """
    for probe in probes:
        if probe not in PROBES:
            raise ValueError(f"no probe named {probe!r}; there are: {', '.join(PROBES)}")
    kinds_train, kinds_test = _kinds(features_train), _kinds(features_test)
    columns_train, columns_test = _columns(labels_train), _columns(labels_test)
    _refuse_other_names("features", kinds_train, kinds_test)
    _refuse_other_names("labels", columns_train, columns_test)
    _refuse_other_lengths(kinds_train, columns_train)
    _refuse_other_lengths(kinds_test, columns_test)
    tasks: dict[str, ClassTask | SeveralTask] = {
        name: class_task(columns_train[name], columns_test[name])
        if separator is None
        else several_task(columns_train[name], columns_test[name], separator)
        for name in columns_train
    }
    table: list[Score] = []
    for kind in kinds_train:
        x, x_test = _array(kinds_train[kind]), _array(kinds_test[kind])
        for name, task in tasks.items():
            train, test = x[task.train], x_test[task.test]
            skipped = task.skipped or _not_finite(train, test)
            if skipped:
                metric = "top1" if separator is None else MAP
                table.append(Score(kind, name, probes[0], metric, classes=len(task.names), skipped=skipped))
                continue
            for probe in probes:
                if isinstance(task, SeveralTask):
                    table += several_scores(
                        kind, name, train, test, task, probe, k=k, temperature=temperature, ranks=ranks
                    )
                    continue
                if probe == "retrieval":
                    results = _retrieval(train, test, task, ranks)
                else:
                    scores = _classifier(probe, k, temperature, seed)(train, task.train_classes, test)
                    results = _classification(scores, task)
                table += [
                    Score(
                        features=kind,
                        semantic=name,
                        probe=probe,
                        metric=metric,
                        chance=chance,
                        classes=len(task.names),
                        train=len(train),
                        test=len(test),
                        hits=hits,
                        test_classes=tuple(task.names[c] for c in task.test_classes),
                    )
                    for metric, hits, chance in results
                ]
    return table


def probe_videos(
    features: Mapping[str, Features],
    labels: Mapping[str, Sequence[Any]],
    train: NDArray[np.bool_] | None = None,
    seed: int = 0,
    *,
    probes: Sequence[Probe] = ("ridge", "knn", "retrieval"),
    k: int = 200,
    temperature: float = 0.07,
    separator: str | None = None,
) -> list[Score]:
    """:func:`probe_table` for videos that are not yet divided into a training and a test part.

    Args:
        features: kind of features to ``(N, D)``.
        labels: label column to N values.
        train: ``(N,)``: rows that train; the other rows test. None: half of each class trains, drawn for each
            label column; with a separator, half of all videos with a label.
        seed: seed of these halves and of ``sgd``.
        probes: as in :func:`probe_table`.
        k: as in :func:`probe_table`.
        temperature: as in :func:`probe_table`.
        separator: as in :func:`probe_table`.

    Returns:
        Scores, ordered by label column, kind of features, probe and metric.
    """
    kinds = {kind: _array(values) for kind, values in features.items()}
    table: list[Score] = []
    for name, column in labels.items():
        known = column if separator is None else [class_name(value) and "known" for value in column]
        chosen = halves(known, seed) if train is None else train
        rows, others = np.flatnonzero(chosen).tolist(), np.flatnonzero(~chosen).tolist()
        table += probe_table(
            {kind: values[rows] for kind, values in kinds.items()},
            {name: [column[row] for row in rows]},
            {kind: values[others] for kind, values in kinds.items()},
            {name: [column[row] for row in others]},
            probes=probes,
            k=k,
            temperature=temperature,
            seed=seed,
            separator=separator,
        )
    return table


def _refuse_other_names(what: str, train: Mapping[str, object], test: Mapping[str, object]) -> None:
    if train.keys() != test.keys():
        raise ValueError(f"{what} to train on are named {[*train]}, those to test on {[*test]}")


def _refuse_other_lengths(kinds: Mapping[str, Features], columns: Mapping[str, Sequence[Any]]) -> None:
    for kind, name in ((kind, name) for kind in kinds for name in columns):
        if len(kinds[kind]) != len(columns[name]):
            raise ValueError(
                f"{len(kinds[kind])} rows of {kind} and {len(columns[name])} labels of {name}; "
                "expected as many of each"
            )


def _not_finite(train: Array, test: Array) -> str | None:
    broken = int((~np.isfinite(train).all(1)).sum() + (~np.isfinite(test).all(1)).sum())
    return f"features of {broken} of {len(train) + len(test)} videos are not finite" if broken else None


def _classifier(
    probe: Probe, k: int, temperature: float, seed: int
) -> Callable[[Array, NDArray[np.int64], Array], Array]:
    if probe == "ridge":
        return ridge_scores
    if probe == "sgd":
        return functools.partial(sgd_scores, seed=seed)
    return functools.partial(knn_scores, k=k, temperature=temperature)


def _classification(scores: Array, task: ClassTask) -> list[MetricHits]:
    order = np.argsort(-scores, axis=1, kind="stable")
    right = order == task.test_classes[:, None]
    frequent = np.sort(np.bincount(task.test_classes))[::-1] / len(task.test)
    tops = (1, 5) if len(task.names) > 5 else (1,)
    return [(f"top{n}", right[:, :n].any(1), float(frequent[:n].sum())) for n in tops]


def _retrieval(train: Array, test: Array, task: ClassTask, ranks: Sequence[int]) -> list[MetricHits]:
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


def _kinds(features: Features | Mapping[str, Features]) -> dict[str, Features]:
    return dict(features) if isinstance(features, Mapping) else {"features": features}


def _columns(labels: Labels) -> dict[str, Sequence[Any]]:
    return dict(labels) if isinstance(labels, Mapping) else {"label": labels}


def _array(values: Features) -> Array:
    if isinstance(values, Tensor):
        values = values.detach().cpu().double().numpy()
    return np.asarray(values, dtype=np.float64)
