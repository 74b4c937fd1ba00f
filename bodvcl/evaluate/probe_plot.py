"""Pictures of a probe: retrieval over k, and the accuracy of each class."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from bodvcl.errors import ConfigError, UserError
from bodvcl.evaluate.score import Score
from bodvcl.runs.folder import write_atomically
from bodvcl.text.words import printable
from bodvcl.viz.svg import BEFORE, DYNAMIC, EXTRA, INK, MUTED, PAPER, STATIC, styled

COLOURS = {"backbone": INK, "backbone+std": BEFORE, "projector": EXTRA, "static": STATIC, "dynamic": DYNAMIC}
FORMATS = (".png", ".svg")
MAX_CLASSES = 120
"""Columns with more classes get no bars: they would be unreadable."""
_LONGEST = 40  # characters of a name
_BAR = 0.16  # inches of height for a class


def check_plot_path(path: Path) -> None:
    """Raises :class:`~bodvcl.errors.ConfigError` for a format that cannot be written."""
    if path.suffix.lower() not in FORMATS:
        raise ConfigError(f"--plot {path}: expected a name that ends in {' or '.join(FORMATS)}")


@styled
def probe_figure(scores: Sequence[Score], against: Sequence[Score] = (), name: str = "") -> Figure | None:
    """A row of panels for each label column: R@k, and accuracy by class of the first classifier.

    Each kind of features has its colour; the other encoder is drawn dashed (R@k) or as dots (classes).

    Args:
        scores: scores of the encoder.
        against: scores of the other encoder.
        name: name of the other encoder, for the legend.

    Returns:
        The figure; None if there is nothing to draw.
    """
    usable = [score for score in scores if score.hits is not None]
    lines = [
        (semantic, panels)
        for semantic in dict.fromkeys(score.semantic for score in usable)
        if (panels := _panels([score for score in usable if score.semantic == semantic]))
    ]
    if not lines:
        return None
    heights = [max(_height(panel) for panel in panels) for _, panels in lines]
    figure = Figure(figsize=(9.2, sum(heights)), layout="constrained", facecolor="white")
    parts = figure.subfigures(len(lines), 1, squeeze=False, height_ratios=heights).ravel()
    for part, (semantic, panels) in zip(parts, lines):
        part.set_facecolor("white")
        part.suptitle(picture_text(semantic), x=0.01, ha="left", fontweight="bold")
        for axes, panel in zip(np.ravel(part.subplots(1, len(panels))), panels):
            others = [score for score in against if score.hits is not None and score.semantic == semantic]
            draw = _draw_retrieval if panel[0].probe == "retrieval" else _draw_classes
            draw(axes, panel, others, name)
    return figure


def save_plot(figure: Figure, path: Path) -> None:
    """Write the picture atomically, as PNG or SVG by the ending of its name.

    Raises:
        UserError: the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        picture = io.BytesIO()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            figure.savefig(picture, format=path.suffix[1:].lower(), dpi=150)
        if any(str(warning.message).startswith("Glyph") for warning in caught):
            warnings.warn(f"{path}: matplotlib has no font for some letters of the names", stacklevel=2)
        write_atomically(path, picture.getvalue())
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error


def picture_text(name: str) -> str:
    """A name from the data as text of the picture: not a formula, and shortened."""
    text = printable(name if len(name) <= _LONGEST else f"{name[: _LONGEST - 3]}...")
    return text.replace("$", r"\$")


Panel = list[Score]


def _panels(scores: Sequence[Score]) -> list[Panel]:
    retrieval = [score for score in scores if score.probe == "retrieval"]
    accuracy = [score for score in scores if score.metric == "top1"]
    first = [score for score in accuracy if score.probe == accuracy[0].probe]
    classes = [score for score in first if score.classes <= MAX_CLASSES][:1]
    return [panel for panel in (retrieval, classes) if panel]


def _height(panel: Panel) -> float:
    return 3.2 if panel[0].probe == "retrieval" else max(3.2, 1.2 + _BAR * panel[0].classes)


def _draw_retrieval(axes: Axes, panel: Panel, others: Sequence[Score], name: str) -> None:
    for kind in dict.fromkeys(score.features for score in panel):
        own = [score for score in panel if score.features == kind]
        ranks = [int(score.metric.removeprefix("R@")) for score in own]
        low, high = zip(*(score.interval for score in own))
        axes.fill_between(ranks, low, high, color=COLOURS[kind], alpha=0.12, linewidth=0)
        values = [score.value for score in own]
        axes.plot(ranks, values, color=COLOURS[kind], marker="o", markersize=4, label=kind)
        other = [score for score in others if score.probe == "retrieval" and score.features == kind]
        if other:
            values = [score.value for score in other]
            style: dict[str, Any] = {"color": COLOURS[kind], "linestyle": (0, (4, 2)), "linewidth": 1.2}
            axes.plot(ranks, values, **style)
    first = [score for score in panel if score.features == panel[0].features]
    chance = [score.chance for score in first]
    axes.plot(ranks, chance, color=MUTED, linestyle=":", linewidth=1.2, label="chance")
    axes.set_xscale("log")
    axes.set_xticks(ranks, [str(rank) for rank in ranks])
    axes.minorticks_off()
    axes.set(xlabel="k", ylabel="R@k", ylim=(0, 1.03))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    if name:
        axes.plot([], [], color=MUTED, linestyle=(0, (4, 2)), linewidth=1.2, label=picture_text(name))
    axes.legend(loc="lower right", fontsize=8)


def _draw_classes(axes: Axes, panel: Panel, others: Sequence[Score], name: str) -> None:
    score = panel[0]
    shares = score.per_class()
    names = sorted(shares, key=lambda c: shares[c][0])
    places = np.arange(len(names))
    axes.barh(places, [shares[c][0] for c in names], color=COLOURS[score.features], alpha=0.35, height=0.7)
    for other in others:
        if other.key == score.key:
            dots = [other.per_class()[c][0] for c in names]
            axes.plot(
                dots, places, "o", color=PAPER, markeredgecolor=INK, markersize=5, label=picture_text(name)
            )
            axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), fontsize=8, borderaxespad=0.1)
    axes.axvline(score.chance, color=MUTED, linestyle=":", linewidth=1.2)
    axes.set_yticks(places, [picture_text(name) for name in names], fontsize=8 if len(names) <= 40 else 6)
    axes.set(xlim=(0, 1.03), ylim=(-0.6, len(names) - 0.4))
    axes.set_xlabel(f"accuracy by class, {score.probe} on {score.features} (dotted: chance)", fontsize=8)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.grid(visible=False, axis="y")
