"""The figures of the report. Each function draws one panel; the page shows them side by side."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import imsave
from matplotlib.patches import Circle
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, PercentFormatter
from numpy.typing import NDArray

from bodvcl.runs.analysis import Analysis
from bodvcl.viz.svg import DYNAMIC, GRID, INK, MUTED, STATIC, new_figure, styled

MAX_POINTS = 2000
"""Largest number of eigenvalues that are drawn; of more, a random part is drawn."""
PLANE = 1.3
"""The complex plane is shown from -PLANE to PLANE on both axes."""
_BESIDE, _KEY, _LETTER = 0.6, 0.55, 0.085
"""Inches beside a legend, of a key with its spaces, and of a letter of a name."""


class Curve(NamedTuple):
    """One line of a chart over training steps."""

    label: str
    values: NDArray[np.float64]
    colour: str
    steps: NDArray[np.float64]


class LagCurve(NamedTuple):
    """One line of a chart of frame similarity over the lag.

    Attributes:
        label: its name.
        analysis: what is drawn.
        colour: its colour.
        band: draw a band from the 10th to the 90th percentile of the clips; without it the line is dashed.
    """

    label: str
    analysis: Analysis
    colour: str
    band: bool = True


def smooth(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Centred moving average over a tenth of the points. NaN does not count; of NaN alone it is NaN."""
    reach = len(values) // 20
    known = np.isfinite(values)
    kernel = np.ones(2 * reach + 1)
    total = np.convolve(np.where(known, values, 0.0), kernel)[reach : reach + len(values)]
    count = np.convolve(known, kernel)[reach : reach + len(values)]
    mean: NDArray[np.float64] = np.full(len(values), math.nan)
    np.divide(total, count, out=mean, where=count > 0.5)
    return mean


@styled
def training_curves(
    curves: Sequence[Curve],
    ylabel: str,
    *,
    share: bool = False,
    from_zero: bool = False,
) -> Figure:
    """Curves over training steps: raw values thin, their moving average bold.

    The vertical axis is logarithmic if all values are positive and span more than a factor of 30, unless
    ``share`` (values in [0, 1], shown in percent) or ``from_zero`` asks for a linear one.
    """
    figure, axes = new_figure()
    for curve in curves:
        if len(curve.steps) > 20:
            axes.plot(curve.steps, curve.values, color=curve.colour, linewidth=0.8, alpha=0.35)
            axes.plot(curve.steps, smooth(curve.values), color=curve.colour, label=curve.label)
        else:
            axes.plot(
                curve.steps, curve.values, color=curve.colour, label=curve.label, marker="o", markersize=3
            )
    values = np.concatenate([curve.values for curve in curves])
    values = values[np.isfinite(values)]
    axes.set_xlabel("step")
    axes.set_ylabel(ylabel)
    axes.grid(visible=False, axis="x")
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    if share:
        axes.set_ylim(0, max(0.05, 1.08 * values.max()))
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    elif from_zero:
        low, high = min(0.0, values.min()), max(0.0, values.max())
        axes.set_ylim(1.08 * low, 1.08 * high if high > low else 1.0)
        axes.yaxis.set_major_formatter(_plain)
    elif values.min() > 0 and values.max() > 30 * values.min():
        _log_axis(axes)
    if len(curves) > 1:
        legend_above(axes)
    return figure


@styled
def eigenvalue_plane(analysis: Analysis, koopman: dict[str, Any]) -> Figure:
    """Eigenvalues of all clips on the complex plane (Figure 4a), coloured by the stream with more of it.

    Draws the unit circle, the circle of radius ``koopman["xi"]`` around 1 and, with the smooth mask, the
    lines on which ``|m(lambda)|`` is 10%, 50% and 90%.
    """
    figure, axes = new_figure(4.6, 4.6)
    values, weights = analysis.eigenvalues.ravel(), analysis.weights.ravel()
    known = np.isfinite(values)
    chosen = np.random.default_rng(0).permutation(np.flatnonzero(known))[:MAX_POINTS]
    values, static = values[chosen], weights[chosen] >= 0.5
    axes.axhline(0, color=GRID, linewidth=0.8)
    axes.axvline(0, color=GRID, linewidth=0.8)
    axes.add_patch(Circle((0, 0), 1, fill=False, edgecolor=MUTED, linewidth=1.2))
    if koopman.get("mask") == "smooth":
        _mask_contours(axes, int(koopman.get("smooth_power", 8)))
    if "xi" in koopman:
        xi = float(koopman["xi"])
        axes.add_patch(Circle((1, 0), xi, facecolor=STATIC, edgecolor="none", alpha=0.12))
        axes.add_patch(Circle((1, 0), xi, fill=False, edgecolor=STATIC, linewidth=1.6, zorder=4))
    dots: dict[str, Any] = {"marker": "o", "linestyle": "", "markersize": 3.8, "markeredgewidth": 0}
    for shown, colour, label in ((static, STATIC, "static"), (~static, DYNAMIC, "dynamic")):
        axes.plot(values.real[shown], values.imag[shown], color=colour, alpha=0.6, **dots)
        axes.plot([], [], color=colour, label=label, **dots | {"markersize": 6})
    axes.set(xlim=(-PLANE, PLANE), ylim=(-PLANE, PLANE), aspect="equal", xlabel="real", ylabel="imaginary")
    axes.set_xticks([-1, 0, 1])
    axes.set_yticks([-1, 0, 1], ["-i", "0", "i"])
    axes.grid(visible=False)
    legend_above(axes)
    return figure


@styled
def similarity_matrix(similarity: NDArray[np.float32], low: float | None = None) -> Figure:
    """Mean cosine similarity ``(T, T)`` between a clip's frames (Figure 11a); with numbers up to T = 10.

    Args:
        similarity: the matrix.
        low: value of the darkest colour; the brightest is 1. None: the smallest similarity.
    """
    figure, axes = new_figure(4.6, 4.0)
    frames = len(similarity)
    low = min(float(np.nanmin(similarity)) if low is None else low, 0.999)
    picture = axes.imshow(similarity, cmap="cividis", vmin=low, vmax=1.0, interpolation="nearest")
    ticks = np.unique(np.linspace(0, frames - 1, min(frames, 8)).round().astype(int))
    axes.set_xticks(ticks, ticks + 1)
    axes.set_yticks(ticks, ticks + 1)
    axes.set(xlabel="frame", ylabel="frame")
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    bar = figure.colorbar(picture, ax=axes, shrink=0.9, aspect=30)
    bar.outline.set_visible(False)
    if frames <= 10:
        for (row, column), value in np.ndenumerate(similarity):
            colour = "black" if value > (low + 1) / 2 else "white"
            axes.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=8, color=colour)
    return figure


@styled
def similarity_over_lag(curves: Sequence[LagCurve]) -> Figure:
    """Mean frame similarity by lag (Figure 11b)."""
    figure, axes = new_figure(4.6, 4.0)
    for label, analysis, colour, band in curves:
        lags = np.arange(len(analysis.lag_mean))
        if not band:
            axes.plot(lags, analysis.lag_mean, color=colour, linestyle=(0, (4, 2)), label=label)
            continue
        axes.fill_between(lags, analysis.lag_low, analysis.lag_high, color=colour, alpha=0.15, linewidth=0)
        axes.plot(lags, analysis.lag_mean, color=colour, marker="o", markersize=4, label=label)
    axes.set(xlabel="lag in frames", ylabel="cosine similarity")
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    if len(curves) > 1:
        legend_above(axes)
    return figure


def picture_uri(frame: NDArray[np.uint8]) -> str:
    """A frame ``(H, W, 3)`` uint8 as a JPEG data URI."""
    buffer = io.BytesIO()
    imsave(buffer, frame, format="jpeg", pil_kwargs={"quality": 88})
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def outside_plane(analysis: Analysis) -> int:
    """Number of eigenvalues outside the picture of :func:`eigenvalue_plane`."""
    values = analysis.eigenvalues
    return int(((np.abs(values.real) > PLANE) | (np.abs(values.imag) > PLANE)).sum())


def _mask_contours(axes: Axes, power: int) -> None:
    """``|(1 + lambda) / 2| ** power = c`` is a circle around -1 of radius ``2 c ** (1 / power)``."""
    for level, top in ((0.1, True), (0.5, False), (0.9, True)):
        radius = 2 * level ** (1 / power)
        axes.add_patch(
            Circle((-1, 0), radius, fill=False, edgecolor=MUTED, linewidth=0.8, linestyle=(0, (3, 3)))
        )
        height = PLANE - 0.1
        if radius > height:
            x = math.sqrt(radius**2 - height**2) - 1
            place = (x + 0.07, height, "left") if top else (x - 0.07, -height, "right")
            axes.text(*place[:2], f"{level:.0%}", fontsize=8, color=MUTED, ha=place[2], va="center")


def legend_above(axes: Axes) -> None:
    """A legend above a panel, in as many columns as fit: a wider one would squeeze the panel."""
    names = [str(name) for name in axes.get_legend_handles_labels()[1]]
    figure = axes.get_figure(root=True)
    assert figure is not None
    columns = int((figure.get_figwidth() - _BESIDE) / (_KEY + _LETTER * max(map(len, names))))
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(-0.02, 1.0),
        ncols=min(max(columns, 1), 4),
        borderaxespad=0.2,
        labelcolor=INK,
    )


def _plain(value: float, _position: float) -> str:
    """A tick label without exponent or trailing zeros."""
    return f"{value:g}"


def _log_axis(axes: Axes) -> None:
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(numticks=6))
    axes.yaxis.set_major_formatter(_plain)
    axes.yaxis.set_minor_formatter(NullFormatter())
