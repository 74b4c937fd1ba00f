"""What a fine-tuning leaves in its folder, and the table that it prints."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray

from bodvcl.data.files.video import VideoInfo
from bodvcl.evaluate.probe_plot import picture_text, save_plot
from bodvcl.finetune.labels import Labels
from bodvcl.finetune.scores import Scores
from bodvcl.finetune.views import Predictions
from bodvcl.runs.folder import write_atomically
from bodvcl.runs.results import Result
from bodvcl.text.tables import Listing, Row
from bodvcl.viz.svg import INK, styled

CONFUSION, PICTURE, PREDICTIONS = "confusion.csv", "confusion.png", "predictions.csv"
MOST_CLASSES = 60
"""With more classes the picture shows those that are confused most."""
_SHOWN = 40
_HEADINGS = {"top1": "top-1", "top5": "top-5", "mean_class": "mean class", "map": "mAP"}


def write_predictions(
    folder: Path, videos: Sequence[VideoInfo], labels: Labels, found: Predictions, scores: Scores
) -> None:
    """Write ``predictions.csv``, and where each video has one class ``confusion.csv`` and ``confusion.png``.

    Raises:
        OSError: a file cannot be written.
    """
    head = ("video", "label", "predicted", "probability")
    write_atomically(folder / PREDICTIONS, _csv([head, *_predictions(videos, labels, found)]))
    if scores.confusion is None:
        return
    rows = [[name, *line.tolist()] for name, line in zip(labels.classes, scores.confusion)]
    write_atomically(folder / CONFUSION, _csv([["", *labels.classes], *rows]))
    save_plot(confusion_figure(scores.confusion, labels.classes), folder / PICTURE)


def _predictions(
    videos: Sequence[VideoInfo], labels: Labels, found: Predictions
) -> list[tuple[str, str, str, str]]:
    """One line per video: its path, its label, the most probable class and its probability."""
    best = found.probabilities.argmax(1)
    return [
        (videos[row].name, videos[row].labels[labels.column], labels.classes[k], f"{line[k]:.6f}")
        for row, k, line in zip(found.rows.tolist(), best.tolist(), found.probabilities)
    ]


def _csv(rows: Sequence[Sequence[object]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode("utf-8", "surrogateescape")


def most_confused(confusion: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """Numbers of the classes with the most mistakes, in their order: videos of the class that were taken for
    another, and of others that were taken for it.

    Args:
        confusion: (classes, classes).
        most: how many.
    """
    wrong = confusion - np.diag(confusion.diagonal())
    mistakes = wrong.sum(0) + wrong.sum(1)
    chosen = np.argsort(-mistakes, kind="stable")[:most]
    return np.sort(chosen)


@styled
def confusion_figure(confusion: NDArray[np.int64], classes: Sequence[str]) -> Figure:
    """Share of the videos of each class (a row) that were taken for each class (a column).

    With more than :data:`MOST_CLASSES` classes only those that are confused most are drawn.
    """
    tested = np.maximum(confusion.sum(1, keepdims=True), 1)
    title, shown = "", np.arange(len(classes))
    if len(classes) > MOST_CLASSES:
        shown = most_confused(confusion, _SHOWN)
        title = f"the {_SHOWN} of {len(classes)} classes that are confused most"
    shares = (confusion / tested)[np.ix_(shown, shown)]
    side = max(3.6, 1.6 + 0.19 * len(shown))
    figure = Figure(figsize=(side + 1.2, side), layout="constrained", facecolor="white")
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0)
    names = [picture_text(classes[k]) for k in shown.tolist()]
    axes.set_xticks(range(len(names)), names, rotation=90, fontsize=7)
    axes.set_yticks(range(len(names)), names, fontsize=7)
    axes.set_xlabel("taken for")
    axes.set_ylabel("class")
    axes.set_title(title, fontsize=9, color=INK)
    axes.grid(visible=False)
    figure.colorbar(image, ax=axes, shrink=0.7, format=PercentFormatter(1.0, decimals=0))
    return figure


def score_table(result: Result, scores: Scores) -> Listing:
    """Every metric with its 95% interval, where it is a share of the videos."""
    rows = []
    for name, value in result.metrics.items():
        low_high = scores.intervals.get(name)
        between = "" if low_high is None else f"{100 * low_high[0]:.1f} to {100 * low_high[1]:.1f}"
        rows.append(Row([_HEADINGS[name]], {"%": f"{100 * value:.1f}", "95% interval": between}))
    return Listing(f"{result.data}: {result.test:,} test videos", ["metric"], ["%", "95% interval"], rows)


def fold_table(data: str, folds: Mapping[int, Result], mean: Mapping[str, float]) -> Listing:
    """Every metric of each split, and the means."""
    columns = {name: f"{_HEADINGS[name]} %" for name in mean}
    lines = {f"split {fold}": result.metrics for fold, result in folds.items()} | {"mean": mean}
    rows = [
        Row([name], {columns[metric]: f"{100 * value:.1f}" for metric, value in metrics.items()})
        for name, metrics in lines.items()
    ]
    return Listing(f"{data}: {len(folds)} splits", ["split"], list(columns.values()), rows)
