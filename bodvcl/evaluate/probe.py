"""Linear probe: what can a linear classifier read from frozen features?

Each label column is one classification task. One half of the videos trains the classifier, the other half
tests it; the same halves serve every encoder, so that two encoders are compared video by video.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import RidgeClassifierCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from bodvcl.run_dir import write_atomically

Z95 = 1.959963984540054
"""Two-sided 95% point of the normal distribution."""

RIDGES = np.logspace(-1, 5, 13)
"""Penalties tried; the training half chooses by leave-one-out, in closed form."""


@dataclass(frozen=True)
class ProbeResult:
    """One label column on one kind of features. Accuracies are shares in [0, 1]; NaN where it was skipped."""

    accuracy: float
    low: float
    """Lower end of the 95% Wilson interval of the accuracy."""
    high: float
    chance: float
    """Accuracy of always answering the most frequent class of the test half."""
    classes: int
    train: int
    """Videos in the training half."""
    test: int
    correct: NDArray[np.bool_]
    """Test video by test video: was the answer right?"""
    skipped: str | None = None
    """Why there is no result, if there is none."""


def wilson_interval(hits: int, trials: int) -> tuple[float, float]:
    """95% Wilson score interval of a proportion; ``(0, 1)`` without any trial."""
    if trials == 0:
        return 0.0, 1.0
    share = hits / trials
    denominator = 1 + Z95**2 / trials
    centre = (share + Z95**2 / (2 * trials)) / denominator
    half = Z95 * math.sqrt(share * (1 - share) / trials + Z95**2 / (4 * trials**2)) / denominator
    return max(0.0, centre - half), min(1.0, centre + half)


def paired_margin(before: NDArray[np.bool_], after: NDArray[np.bool_]) -> float:
    """Half the width of the 95% interval of ``mean(after) - mean(before)`` on the same videos.

    Bonett and Price's adjusted interval for paired proportions: two made-up videos, one gained and one lost,
    keep it honest for few videos.
    """
    trials = len(before) + 2
    gained = (int((after & ~before).sum()) + 1) / trials
    lost = (int((before & ~after).sum()) + 1) / trials
    return Z95 * math.sqrt((gained + lost - (gained - lost) ** 2) / trials)


def halves(classes: NDArray[Any], seed: int = 0) -> NDArray[np.bool_]:
    """Boolean mask of the training rows: half of each class, rounded up, drawn by seed."""
    rng = np.random.default_rng(seed)
    train = np.zeros(len(classes), dtype=bool)
    for value in np.unique(classes):
        rows = rng.permutation(np.flatnonzero(classes == value))
        train[rows[: (len(rows) + 1) // 2]] = True
    return train


def linear_probe(
    features: Tensor, labels: Sequence[Any], seed: int = 0, train: NDArray[np.bool_] | None = None
) -> ProbeResult:
    """Train and test a ridge classifier on standardised frozen features.

    ``features (N, D)`` float; ``labels``: N values of any kind, among them ``None``, NaN or an empty string
    where the class is unknown; ``train (N,)`` bool: the rows to train on, the others test; ``None``: half of
    each class, drawn by ``seed``. A class that only one half has is left out. Where there is nothing to learn
    or a feature is not finite, the result is empty and says why. Raises ``ValueError`` if lengths differ.
    """
    if len(features) != len(labels):
        raise ValueError(
            f"{len(features)} rows of features and {len(labels)} labels; expected as many of each"
        )
    names = [_name(value) for value in labels]
    rows = np.array([i for i, name in enumerate(names) if name is not None], dtype=int)
    y = np.array([names[i] for i in rows], dtype=np.str_)
    training = halves(y, seed) if train is None else train[rows]
    usable = np.intersect1d(y[training], y[~training])
    if len(usable) < 2:
        return _skipped(_why_not(len(np.unique(y)), len(usable)), len(usable))
    kept = np.isin(y, usable)
    rows, y, training = rows[kept], y[kept], training[kept]
    x = features.double().cpu().numpy()[rows]
    if not np.isfinite(x).all():
        broken = int((~np.isfinite(x).all(1)).sum())
        return _skipped(f"features of {broken} of {len(x)} videos are not finite", len(usable))
    classifier = make_pipeline(StandardScaler(), RidgeClassifierCV(RIDGES)).fit(x[training], y[training])
    correct = classifier.predict(x[~training]) == y[~training]
    low, high = wilson_interval(int(correct.sum()), len(correct))
    return ProbeResult(
        accuracy=float(correct.mean()),
        low=low,
        high=high,
        chance=float(np.unique(y[~training], return_counts=True)[1].max() / len(correct)),
        classes=len(usable),
        train=int(training.sum()),
        test=len(correct),
        correct=correct,
    )


def probe_features(
    features: Mapping[str, Tensor],
    labels: Mapping[str, Sequence[Any]] | None,
    seed: int = 0,
    train: NDArray[np.bool_] | None = None,
) -> dict[str, dict[str, ProbeResult]]:
    """Probe every label column on every kind of features: ``{kind of features: {label column: result}}``.

    Arguments as in :func:`linear_probe`. Without labels (``None`` or no column) there are no results.
    """
    columns = labels or {}
    return {
        kind: {name: linear_probe(values, column, seed, train) for name, column in columns.items()}
        for kind, values in features.items()
    }


def probe_table(
    before: Mapping[str, Mapping[str, ProbeResult]],
    after: Mapping[str, Mapping[str, ProbeResult]],
    kinds: Mapping[str, str] | None = None,
) -> list[dict[str, Any]]:
    """The untrained encoder (``before``) beside the pre-trained one, for each kind of features and label.

    ``kinds`` says of a column whether it is "static" or "dynamic". A row is flat and holds JSON types only;
    ``gain`` is the pre-trained accuracy minus the untrained one, ``gain_margin`` half of its 95% interval on
    the same test videos. A skipped row has the reason in ``skipped`` and no accuracies.
    """
    return [
        _row(features, name, (kinds or {}).get(name), before[features][name], result)
        for features, results in after.items()
        for name, result in results.items()
    ]


def save_probe(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write the rows of :func:`probe_table` as ``{"rows": [...]}``, atomically."""
    text = json.dumps({"rows": list(rows)}, indent=1, allow_nan=False)
    write_atomically(path, f"{text}\n".encode())


def _row(
    features: str, name: str, kind: str | None, before: ProbeResult, after: ProbeResult
) -> dict[str, Any]:
    row: dict[str, Any] = {"semantic": name, "kind": kind, "features": features, "classes": after.classes}
    skipped = after.skipped or before.skipped
    if skipped:
        return row | {"skipped": skipped}
    return row | {
        "skipped": None,
        "train": after.train,
        "test": after.test,
        "chance": after.chance,
        "untrained": before.accuracy,
        "untrained_low": before.low,
        "untrained_high": before.high,
        "pretrained": after.accuracy,
        "pretrained_low": after.low,
        "pretrained_high": after.high,
        "gain": after.accuracy - before.accuracy,
        "gain_margin": paired_margin(before.correct, after.correct),
    }


def _name(value: Any) -> str | None:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    return str(value).strip() or None


def _why_not(known: int, usable: int) -> str:
    if known == 0:
        return "no video has this label"
    if known == 1:
        return "all videos have the same label"
    return f"{usable} of {known} classes have videos both to train and to test on; a probe needs two"


def _skipped(reason: str, classes: int) -> ProbeResult:
    nothing = np.zeros(0, dtype=bool)
    return ProbeResult(math.nan, math.nan, math.nan, math.nan, classes, 0, 0, nothing, reason)
