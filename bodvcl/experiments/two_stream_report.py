"""Figures 6 and 7, the table and the verdict of the two-stream study."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from bodvcl.experiments.two_stream import Loss, Record
from bodvcl.experiments.two_stream_data import Correlation
from bodvcl.tables.statistics import mean_interval

Results = Mapping[tuple[Correlation, Loss], Sequence[Sequence[Record]]]

KIND = {
    "background": "simple static",
    "shape": "complex static",
    "brightness": "simple dynamic",
    "trajectory": "complex dynamic",
}
COLOUR = {"background": "#0072b2", "shape": "#56b4e9", "brightness": "#d55e00", "trajectory": "#e69f00"}
"""Okabe-Ito colours: blue for static, orange for dynamic."""

PAIRS: dict[Correlation, tuple[str, str]] = {
    "sc": ("background", "trajectory"),
    "dc": ("brightness", "shape"),
}
"""Correlation to (easy semantic, the semantic that it suppresses)."""

_TITLE = {
    "sc": "background colour decides the trajectory",
    "dc": "brightness change decides the shape",
}


def accuracies(runs: Sequence[Sequence[Record]], semantic: str, record: int = -1) -> list[float]:
    """Accuracy of one semantic at one record in percent, one value per seed."""
    return [100 * run[record].accuracy[semantic] for run in runs]


def table(results: Results) -> list[dict[str, str]]:
    """One row per setting, loss and semantic: accuracy in % before and after training, mean ± 95%
    interval."""
    return [
        {
            "setting": setting,
            "loss": loss,
            "semantic": semantic,
            "kind": kind,
            "before": _show(accuracies(runs, semantic, 0)),
            "after": _show(accuracies(runs, semantic)),
        }
        for (setting, loss), runs in results.items()
        for semantic, kind in KIND.items()
    ]


def verdict(results: Results) -> list[str]:
    """Sentences that say which of the paper's claims held in these runs, with the numbers."""
    lines = []
    free = results["none", "unified"]
    lowest = min(np.mean(accuracies(free, semantic)) for semantic in KIND)
    each = ", ".join(f"{semantic} {_show(accuracies(free, semantic))}" for semantic in KIND)
    lines.append(
        f"Figure 7 (without correlations all four are learned): {_held(bool(lowest >= 95))}; {each}."
    )
    for setting, (easy, hard) in PAIRS.items():
        unified, decoupled = results[setting, "unified"], results[setting, "decoupled"]
        static, dynamic = _gradient_norms(unified)
        larger = static > dynamic if setting == "sc" else dynamic > static
        lines.append(
            f"Proposition 1, gradients ({setting}: {_TITLE[setting]}): the network of the easy semantic has "
            f"the larger gradient under the unified loss: {_held(larger)}; mean norm {static:.2f} static, "
            f"{dynamic:.2f} dynamic."
        )
        lost = [a - b for a, b in zip(accuracies(free, hard), accuracies(unified, hard))]
        lines.append(
            f"Proposition 1, accuracy ({setting}): the unified loss learns less of the {hard} than without "
            f"the correlation: {_held(_above(lost, 0))}; {_show(accuracies(unified, hard))} against "
            f"{_show(accuracies(free, hard))}, lost {_show(lost)} points."
        )
        gained = [a - b for a, b in zip(accuracies(decoupled, hard), accuracies(unified, hard))]
        kept = accuracies(decoupled, easy)
        held = _held(_above(gained, 0) and float(np.mean(kept)) > 95)
        lines.append(
            f"Corollary 1 ({setting}): the decoupled loss learns more of the {hard} and keeps the {easy} "
            f"above 95%: {held}; gained {_show(gained)} points, {easy} {_show(kept)}."
        )
    return lines


def figure6(results: Results, path: Path) -> None:
    """Gradient norms, accuracy with the unified and with the decoupled loss, for both correlations."""
    figure, axes = plt.subplots(2, 3, figsize=(13, 7), constrained_layout=True)
    for row, setting in zip(axes, PAIRS):
        _plot_norms(row[0], results[setting, "unified"])
        _plot_accuracy(row[1], results[setting, "unified"])
        _plot_accuracy(row[2], results[setting, "decoupled"])
        row[0].set_title("gradient norms, unified loss")
        row[1].set_title("linear probe, unified loss")
        row[2].set_title("linear probe, decoupled loss")
        row[0].set_ylabel(f"{_TITLE[setting]}\n\ngradient norm")
    figure.savefig(path, dpi=130)
    plt.close(figure)


def figure7(results: Results, path: Path) -> None:
    """Accuracy with the unified loss on data without correlations."""
    figure, axis = plt.subplots(figsize=(5.5, 4), constrained_layout=True)
    _plot_accuracy(axis, results["none", "unified"])
    axis.set_title("linear probe, unified loss, no correlation")
    figure.savefig(path, dpi=130)
    plt.close(figure)


def _plot_accuracy(axis: Axes, runs: Sequence[Sequence[Record]]) -> None:
    steps = [record.step for record in runs[0]]
    for semantic, kind in KIND.items():
        values = 100 * np.array([[record.accuracy[semantic] for record in run] for run in runs])
        axis.plot(steps, values.mean(0), color=COLOUR[semantic], label=f"{semantic} ({kind})")
        axis.fill_between(
            steps, values.min(0), values.max(0), color=COLOUR[semantic], alpha=0.15, linewidth=0
        )
    axis.axhline(50, color="grey", linewidth=0.8, linestyle=":")
    axis.set(xlabel="step", ylabel="accuracy, %", ylim=(40, 102))
    axis.legend(loc="lower right", fontsize=8)


def _plot_norms(axis: Axes, runs: Sequence[Sequence[Record]]) -> None:
    steps = [record.step for record in runs[0][1:]]
    for column, (name, colour) in enumerate((("static network", "#0072b2"), ("dynamic network", "#d55e00"))):
        norms = [[record.gradient_norm for record in run[1:]] for run in runs]
        values = np.array([[norm[column] for norm in run if norm is not None] for run in norms])
        axis.plot(steps, values.mean(0), color=colour, label=name)
        axis.fill_between(steps, values.min(0), values.max(0), color=colour, alpha=0.15, linewidth=0)
    axis.set(xlabel="step", yscale="log")
    axis.legend(fontsize=8)


def _gradient_norms(runs: Sequence[Sequence[Record]]) -> tuple[float, float]:
    norms = [record.gradient_norm for run in runs for record in run if record.gradient_norm is not None]
    static, dynamic = np.mean(norms, axis=0)
    return float(static), float(dynamic)


def _above(values: Sequence[float], bound: float) -> bool:
    """Whether the whole 95% interval of the mean is above the bound; for one seed, the value itself."""
    mean, half = mean_interval(values)
    return mean - (0.0 if math.isnan(half) else half) > bound


def _show(values: Sequence[float]) -> str:
    mean, half = mean_interval(values)
    return f"{mean:.1f}" if math.isnan(half) else f"{mean:.1f} ± {half:.1f}"


def _held(true: bool) -> str:
    return "held" if true else "did not hold"
