"""The official splits of a data set that a fine-tuning runs over."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from bodvcl.data.sets import DATA_SETS, DataSet
from bodvcl.errors import ConfigError
from bodvcl.runs.results import Result


def fold_data(data: str, folds: tuple[int, ...]) -> dict[int, str]:
    """Number of each split that was asked for, to the data of its run; empty: one run on ``data``.

    Args:
        data: as the user gave it: ``ucf101@all:FOLDER`` is every split.
        folds: numbers of splits; empty: those of ``data``.

    Raises:
        ConfigError: the data have no such splits.
    """
    name, colon, root = data.partition(":")
    name, at, wanted = name.partition("@")
    every = bool(colon and at and wanted == "all")
    if not every and not folds:
        return {}
    entry = DATA_SETS.get(name)
    if not isinstance(entry, DataSet) or entry.folds == 1:
        have = "one official split" if isinstance(entry, DataSet) else "no official splits"
        asked = "@all" if every else f"--folds {' '.join(map(str, folds))}"
        raise ConfigError(f"{asked}: {data} has {have}; leave it out")
    numbers = tuple(range(1, entry.folds + 1)) if every else tuple(dict.fromkeys(folds))
    if max(numbers) > entry.folds:
        raise ConfigError(f"--folds {max(numbers)}: {entry.title} has the splits 1 to {entry.folds}")
    return {number: f"{name}@{number}:{root}" for number in numbers}


def mean_metrics(folds: Mapping[int, Result]) -> dict[str, float]:
    """The mean of each metric over the splits."""
    names = next(iter(folds.values())).metrics
    return {name: float(np.mean([result.metrics[name] for result in folds.values()])) for name in names}


def mean_result(data: str, folds: Mapping[int, Result]) -> Result:
    """The result of all splits: means, and after them the metrics of each split.

    Args:
        data: as the user gave it.
        folds: number of each split to its result.
    """
    first = next(iter(folds.values()))
    each = {f"{name}_split{n}": value for n, r in folds.items() for name, value in r.metrics.items()}
    return Result(
        kind=first.kind,
        data=data,
        checkpoint=first.checkpoint,
        protocol=first.protocol,
        metrics=mean_metrics(folds) | each,
        train=sum(result.train for result in folds.values()),
        test=sum(result.test for result in folds.values()),
        seed=first.seed,
        seconds=sum(result.seconds for result in folds.values()),
        method=first.method,
        backbone=first.backbone,
    )
