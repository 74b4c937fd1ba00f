"""The figure ``curves``: what the training of each run logged, one panel for each number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from bodvcl.errors import DataError
from bodvcl.figures.folder import FigureFolder, file_name
from bodvcl.figures.opened import OpenedRun
from bodvcl.viz.figures import Curve, training_curves
from bodvcl.viz.html import Markup, chart, grid


class Logged(NamedTuple):
    """A number that a training logs.

    Attributes:
        metric: its name in metrics.jsonl.
        title: heading of its panel.
        unit: name of the vertical axis.
        share: whether it is a share, shown in percent.
    """

    metric: str
    title: str
    unit: str
    share: bool = False


LOGGED = (
    Logged("loss_video", "Contrastive loss", "loss"),
    Logged("loss_static", "Loss of the static stream", "loss"),
    Logged("loss_dynamic", "Loss of the dynamic stream", "loss"),
    Logged("loss_pred", "Prediction loss L_pred", "loss"),
    Logged("static_modes", "Static modes per clip", "modes"),
    Logged("empty_static", "Clips with an empty static stream", "share of clips", share=True),
    Logged("empty_dynamic", "Clips with an empty dynamic stream", "share of clips", share=True),
    Logged("grad_norm", "Gradient norm", "norm before clipping"),
)


def draw_curves(runs: Sequence[OpenedRun], folder: FigureFolder) -> list[Markup]:
    """A panel for each number that a run logged; ``curves.csv`` has the numbers.

    Raises:
        DataError: no run has a readable metrics.jsonl.
    """
    panels: list[Markup] = []
    rows: list[dict[str, Any]] = []
    for metric, title, unit, share in LOGGED:
        having = [run for run in runs if metric in run.contents.metrics]
        curves = [
            Curve(run.name, run.contents.metrics[metric], run.colour, run.contents.metrics["step"])
            for run in having
        ]
        if not curves or all(np.nanmax(curve.values) == 0 for curve in curves):
            continue
        figure = training_curves(curves, unit, share=share)
        name = f"curves-{file_name(metric)}"
        folder.save_figure(name, figure)
        without = [run.name for run in runs if run not in having]
        caption = f"Not logged by {', '.join(without)}." if without else "Thin: logged. Bold: moving average."
        panels.append(
            chart(name, title if len(curves) > 1 else f"{title}, {having[0].name}", figure, caption)
        )
        rows += [
            {"run": curve.label, "metric": metric, "step": int(step), "value": float(value)}
            for curve in curves
            for step, value in zip(curve.steps, curve.values)
            if np.isfinite(value)
        ]
    if not panels:
        raise DataError("no run has a metrics.jsonl that can be read")
    folder.save_table("curves", rows)
    return [grid(panels)]
