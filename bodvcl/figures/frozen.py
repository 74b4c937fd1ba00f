"""The figures of frozen encoders on test videos: temporal distinctiveness (Fig. 11), eigenvalues (Fig. 4)."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from bodvcl.data.files.video import VideoInfo
from bodvcl.errors import DataError
from bodvcl.evaluate.analysis import analyse
from bodvcl.evaluate.features import video_clips
from bodvcl.evaluate.reading import read_clips
from bodvcl.figures.folder import FigureFolder
from bodvcl.figures.opened import OpenedRun
from bodvcl.runs.analysis import Analysis
from bodvcl.viz.figures import (
    LagCurve,
    eigenvalue_plane,
    outside_plane,
    similarity_matrix,
    similarity_over_lag,
)
from bodvcl.viz.html import Markup, chart, grid, number


def analyse_run(
    run: OpenedRun, videos: Sequence[VideoInfo], device: torch.device, workers: int | None
) -> Analysis:
    """Eigenvalues and frame similarities of one clip of each video.

    Raises:
        DataError: no video can be read, or a decoding process died.
    """
    read = read_clips(videos, run.config.clip, clips_per_video=1, workers=workers)
    first = next(read, None)
    if first is None:
        raise DataError(f"none of {len(videos)} videos could be read")
    batches = itertools.chain([first], read)
    clips = (video_clips(batch, run.config.augment, device) for batch in batches)
    return analyse(run.encoder.to(device), clips, device, run.config.koopman)


def draw_distinctiveness(
    runs: Sequence[OpenedRun], analyses: Sequence[Analysis], folder: FigureFolder
) -> list[Markup]:
    """Fig. 11: cosine similarity between the frames of a clip (Eq. 26), as matrices and by lag."""
    low = min(float(np.nanmin(analysis.similarity)) for analysis in analyses)
    panels, rows = [], []
    curves = [LagCurve(run.name, analysis, run.colour) for run, analysis in zip(runs, analyses)]
    lag = similarity_over_lag(curves)
    folder.save_figure("distinctiveness-lag", lag)
    caption = "Mean over clips of the k-th super-diagonal; the band holds 80% of the clips."
    panels.append(chart("distinctiveness-lag", "Similarity by lag", lag, caption))
    for run, analysis in zip(runs, analyses):
        name = f"distinctiveness-{run.key}"
        figure = similarity_matrix(analysis.similarity, low)
        folder.save_figure(name, figure)
        caption = f"Mean over {len(analysis.static_modes)} clips. The colours are the same for all runs."
        panels.append(chart(name, run.name, figure, caption))
        rows += [
            {"run": run.name, "lag": k, "mean": mean, "percentile_10": least, "percentile_90": most}
            for k, (mean, least, most) in enumerate(
                zip(*(x.tolist() for x in (analysis.lag_mean, analysis.lag_low, analysis.lag_high)))
            )
        ]
    folder.save_table("distinctiveness", rows)
    return [grid(panels)]


def draw_eigenvalues(
    runs: Sequence[OpenedRun], analyses: Sequence[Analysis], folder: FigureFolder
) -> list[Markup]:
    """Fig. 4a: eigenvalues of the Koopman operator of each clip, with the circle of radius xi around 1."""
    panels: list[Markup] = []
    rows: list[dict[str, Any]] = []
    for run, analysis in zip(runs, analyses):
        name = f"eigenvalues-{run.key}"
        figure = eigenvalue_plane(analysis, dataclasses.asdict(run.config.koopman))
        folder.save_figure(name, figure)
        modes = number(float(np.nanmean(analysis.static_modes)))
        caption = f"{len(analysis.eigenvalues)} clips; on average {modes} static modes each."
        if hidden := outside_plane(analysis):
            caption += f" {hidden} of {analysis.eigenvalues.size} eigenvalues lie outside the picture."
        if run.config.koopman.mask == "smooth":
            caption += " On the dashed lines, 10, 50 and 90% of a mode go to the static stream."
        if run.config.decouple == "none":
            caption += " The split played no part in the training of this run."
        panels.append(chart(name, run.name, figure, caption))
        rows += [
            {"run": run.name, "clip": clip, "real": float(value.real), "imaginary": float(value.imag),
             "static_share": float(analysis.weights[clip, mode])}
            for (clip, mode), value in np.ndenumerate(analysis.eigenvalues)
            if np.isfinite(value)
        ]  # fmt: skip
    folder.save_table("eigenvalues", rows)
    return [grid(panels)]
