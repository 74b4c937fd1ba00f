"""The sections of the report, each built from what the run folder holds; None if that is missing."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from bodvcl.runs.contents import RunFolder
from bodvcl.viz.figures import (
    Curve,
    LagCurve,
    eigenvalue_plane,
    outside_plane,
    picture_uri,
    similarity_matrix,
    similarity_over_lag,
    training_curves,
)
from bodvcl.viz.html import (
    Markup,
    chart,
    duration,
    escape,
    facts,
    grid,
    number,
    paragraph,
    section,
)
from bodvcl.viz.probe_html import probe_bars, stream_table
from bodvcl.viz.svg import BEFORE, DYNAMIC, EXTRA, INK, STATIC


def headline(run: RunFolder) -> Markup | None:
    """The most important numbers."""
    metrics = run.metrics
    tiles: list[tuple[str, str, str]] = []
    rows = [row for row in run.probe if row["features"] == "backbone" and not row.get("skipped")]
    if rows:
        after, before = (np.mean([row[which] for row in rows]) for which in ("pretrained", "untrained"))
        tiles.append(("probe accuracy, mean", f"{100 * after:.1f}%", f"untrained {100 * before:.1f}%"))
    names = {"loss_video": "loss", "loss_static": "static loss", "loss_dynamic": "dynamic loss"}
    for name in ("loss_static", "loss_dynamic", "loss_video"):
        if name in metrics:
            first, last = _ends(metrics[name])
            tiles.append((names[name], number(last), f"from {number(first)}"))
    if "static_modes" in metrics:
        first, last = _ends(metrics["static_modes"])
        tiles.append(("static modes / clip", number(last), f"from {number(first)}"))
    if "clips_per_second" in metrics:
        wait = metrics.get("data_wait")
        note = "" if wait is None else f"waiting for data {np.nanmean(wait):.0%}"
        tiles.append(("clips / second", number(float(np.nanmedian(metrics["clips_per_second"]))), note))
    steps = run.summary.get("steps", metrics["step"][-1] if "step" in metrics else None)
    seconds = run.summary.get("seconds")
    if isinstance(steps, int | float):
        note = f"in {duration(seconds)}" if isinstance(seconds, int | float) else ""
        tiles.append(("steps", f"{int(steps):,}", note))
    if not tiles:
        return None
    return Markup(f'<dl class="tiles" id="headline">{"".join(_tile(*tile) for tile in tiles)}</dl>')


def probe(run: RunFolder) -> Markup | None:
    """Accuracy of a linear classifier on the frozen encoder."""
    backbone = [row for row in run.probe if row["features"] == "backbone"]
    if not backbone:
        return None
    parts = [
        paragraph(
            "Can a linear classifier read each semantic from the frozen backbone? If the coloured bar is "
            "longer than the grey one, pre-training helped. The part of the grey bar beyond the dotted line "
            "is what the untrained network already gives. Thin lines and ± are 95% intervals: a gain smaller "
            "than its ± may be chance."
        ),
        probe_bars(backbone),
    ]
    streams = {
        name: [row for row in run.probe if row["features"] == kind]
        for kind, name in (
            ("backbone+std", "with std"),
            ("static", "static stream"),
            ("dynamic", "dynamic stream"),
        )
        if any(row["features"] == kind for row in run.probe)
    }
    if streams:
        parts += [
            paragraph(
                "The same probe on other features of the pre-trained encoder, in percent: on those of the "
                "backbone with their standard deviation over time beside their mean, and on the two streams "
                "of the projector. After a clean split, the static stream predicts static semantics better, "
                "and the dynamic stream dynamic ones."
            ),
            stream_table(backbone, streams),
        ]
    return section("probe", "Linear probe", *parts)


def losses(run: RunFolder) -> Markup | None:
    """Loss curves."""
    upper = _curves(run, ("loss_static", "static", STATIC), ("loss_dynamic", "dynamic", DYNAMIC))
    upper = upper or _curves(run, ("loss_video", "contrastive", INK)) or _curves(run, ("loss", "loss", INK))
    panels = [
        _training_chart(
            "loss-contrastive",
            "Contrastive loss",
            upper,
            "loss",
            "It falls when clips of one video come closer together than clips of different videos. A stream "
            "whose loss stays flat is not learned.",
        ),
        _training_chart(
            "loss-pred",
            "Prediction loss L_pred",
            _curves(run, ("loss_pred", "L_pred", EXTRA)),
            "loss",
            "Error of the linear operator that predicts the next frame's embedding from the current one; "
            "lower means more linear.",
        ),
    ]
    return _grid_section("losses", "Losses", panels)


def spectrum(run: RunFolder) -> Markup | None:
    """Eigenvalues on the complex plane."""
    if run.analysis is None:
        return None
    koopman = run.config.get("koopman", {})
    panels = []
    for name, title, part in (
        ("untrained", "Untrained", run.analysis.before),
        ("pretrained", "Pre-trained", run.analysis.after),
    ):
        if part is None:
            continue
        clips = len(part.eigenvalues)
        caption = (
            f"{clips} clips; on average {number(float(np.nanmean(part.static_modes)))} static modes each."
        )
        hidden = outside_plane(part)
        if hidden:
            caption += f" {hidden} of {part.eigenvalues.size} eigenvalues lie outside the picture."
        panels.append(chart(f"plane-{name}", title, eigenvalue_plane(part, koopman), caption))
    text = (
        "Each dot is one mode of one clip: near 1 it stays the same from frame to frame (static), elsewhere "
        "it decays, grows or rotates (dynamic). The grey circle is the unit circle; the small blue circle "
        "has radius xi around 1."
    )
    if koopman.get("mask") == "smooth":
        text += " On the dashed lines, 10, 50 and 90% of a mode go to the static stream."
    return section("spectrum", "Eigenvalues of the Koopman operator", paragraph(text), grid(panels))


def similarity(run: RunFolder) -> Markup | None:
    """Frame similarity, as a matrix and by lag."""
    if run.analysis is None:
        return None
    after, before = run.analysis.after, run.analysis.before
    lags = [] if before is None else [LagCurve("untrained", before, BEFORE, band=False)]
    lags.append(LagCurve("pre-trained", after, STATIC))
    panels = [
        chart(
            "similarity-matrix",
            "Similarity between frames",
            similarity_matrix(after.similarity),
            "Mean over clips for the pre-trained backbone. Bright near the diagonal and darker away from it "
            "means that features distinguish frames by time.",
        ),
        chart(
            "similarity-lag",
            "Similarity by lag",
            similarity_over_lag(lags),
            "A line that falls with the lag means that features change with time; a flat line at 1 means "
            "that all frames look the same to the encoder. The band covers 80% of the clips.",
        ),
    ]
    return section("similarity", "Do features keep time?", grid(panels))


def health(run: RunFolder) -> Markup | None:
    """Static modes and empty streams over training."""
    empty = _curves(run, ("empty_static", "static", STATIC), ("empty_dynamic", "dynamic", DYNAMIC))
    if empty and all(np.nanmax(curve.values) == 0 for curve in empty):
        note = [paragraph("No clip had an empty static or dynamic stream at any logged step.")]
        empty = []
    else:
        note = []
    panels = [
        _training_chart(
            "static-modes",
            "Static modes per clip",
            _curves(run, ("static_modes", "static modes", STATIC)),
            "modes",
            "About one or more is healthy; a fall towards 0 means that the static stream becomes empty.",
            from_zero=True,
        ),
        _training_chart(
            "empty-streams",
            "Clips with an empty stream",
            empty,
            "share of clips",
            "Should stay near 0%: an empty stream is a vector of zeros, from which nothing is learned.",
            share=True,
        ),
    ]
    return _grid_section("health", "Health of the split", panels, *note)


def throughput(run: RunFolder) -> Markup | None:
    """Speed, waiting, gradient and learning rate."""
    panels = [
        _training_chart(
            "speed",
            "Throughput",
            _curves(run, ("clips_per_second", "clips per second", INK)),
            "clips per second",
            "Should be level; a drop comes from another program, a slow disk or a long video.",
            from_zero=True,
        ),
        _training_chart(
            "wait",
            "Waiting for data",
            _curves(run, ("data_wait", "wait", DYNAMIC)),
            "share of time",
            "Near 0%, decoding keeps up with training. If it is large, use more workers or smaller videos.",
            share=True,
        ),
        _training_chart(
            "gradient",
            "Gradient norm",
            _curves(run, ("grad_norm", "norm", INK)),
            "norm before clipping",
            "Single spikes are usual with the spectral split and are clipped; a steady rise is a warning.",
        ),
        _training_chart(
            "rate",
            "Learning rate",
            _curves(run, ("lr", "learning rate", BEFORE)),
            "learning rate",
            "Rises during warm-up and then falls as a cosine.",
            from_zero=True,
        ),
    ]
    return _grid_section("throughput", "Training", panels)


def examples(run: RunFolder) -> Markup | None:
    """Example clips as filmstrips."""
    if run.analysis is None or run.analysis.examples is None or not len(run.analysis.examples):
        return None
    captions = run.analysis.captions
    strips = []
    for index, clip in enumerate(run.analysis.examples):
        caption = captions[index] if index < len(captions) else f"clip {index + 1}"
        frames = "".join(f'<img src="{picture_uri(frame)}" alt="">' for frame in _spread(clip, 8))
        alt = escape(f"Frames of one clip in order of time: {caption}")
        strips.append(
            Markup(
                f'<figure><div class="film" role="img" aria-label="{alt}">{frames}</div>'
                f"<figcaption>{escape(caption)}</figcaption></figure>"
            )
        )
    text = "Each strip is one clip as the encoder sees it, time from left to right."
    return section("examples", "Example clips", paragraph(text), grid(strips))


def summary(run: RunFolder) -> Markup | None:
    """Facts of the run."""
    return section("summary", "About this run", facts(run.summary)) if run.summary else None


def configuration(run: RunFolder) -> Markup | None:
    """The resolved configuration, folded."""
    if not run.config_text.strip():
        return None
    text = f"<details><summary>config.yaml</summary><pre>{escape(run.config_text)}</pre></details>"
    return section("configuration", "Resolved configuration", Markup(text))


SECTIONS: tuple[Callable[[RunFolder], Markup | None], ...] = (
    headline,
    probe,
    losses,
    spectrum,
    similarity,
    health,
    throughput,
    examples,
    summary,
    configuration,
)


def _tile(name: str, value: str, note: str) -> str:
    body = f"<dt>{escape(name)}</dt><dd>{escape(value)}<small>{escape(note)}</small></dd>"
    return f'<div class="tile">{body}</div>'


def _curves(run: RunFolder, *wanted: tuple[str, str, str]) -> list[Curve]:
    metrics = run.metrics
    present = [one for one in wanted if one[0] in metrics]
    return [Curve(label, metrics[name], colour, metrics["step"]) for name, label, colour in present]


def _training_chart(
    name: str, title: str, curves: list[Curve], ylabel: str, caption: str, **options: bool
) -> Markup | None:
    if not curves:
        return None
    figure = training_curves(curves, ylabel, **options)
    return chart(name, title, figure, caption)


def _grid_section(name: str, title: str, panels: list[Markup | None], *before: Markup) -> Markup | None:
    present = [panel for panel in panels if panel is not None]
    return section(name, title, *before, grid(present)) if present else None


def _ends(values: NDArray[np.float64]) -> tuple[float, float]:
    """Mean of the first and of the last tenth of the finite values."""
    known = values[np.isfinite(values)]
    count = max(1, math.ceil(len(known) / 10))
    return float(known[:count].mean()), float(known[-count:].mean())


def _spread(clip: NDArray[np.uint8], count: int) -> NDArray[np.uint8]:
    """At most ``count`` frames, evenly spread from the first to the last."""
    places = np.unique(np.linspace(0, len(clip) - 1, min(count, len(clip))).round().astype(int))
    return np.asarray(clip[places])
