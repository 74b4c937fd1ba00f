"""One self-contained HTML page about a run, from what is in its folder."""

from __future__ import annotations

import math
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

import bodvcl
from bodvcl.config.methods import TITLES
from bodvcl.errors import UserError
from bodvcl.runs.contents import RunFolder, read_run
from bodvcl.runs.folder import write_atomically
from bodvcl.viz.figures import (
    Curve,
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
    join,
    number,
    paragraph,
    section,
)
from bodvcl.viz.probe_html import probe_bars, stream_table
from bodvcl.viz.svg import BEFORE, DYNAMIC, EXTRA, INK, STATIC

REPORT = "report.html"

DECOUPLE = {"none": "", "pred": " + L_pred", "bod": " + BOD-VCL"}


def write_report(run_dir: Path) -> Path:
    """Write ``report.html`` into a run folder, atomically, and return its path.

    The page needs no other file and no network. A file that is missing or broken costs its section, no more.
    Raises :class:`~bodvcl.errors.UserError` where ``run_dir`` is no folder, holds nothing of a run, or cannot
    be written to.
    """
    if not run_dir.is_dir():
        raise UserError(f"{run_dir} is not a folder; expected the folder of a run, such as runs/<name>")
    run = read_run(run_dir)
    if run == RunFolder(path=run_dir):
        raise UserError(
            f"{run_dir} holds nothing of a run (config.yaml, metrics.jsonl, probe.json, analysis.npz)"
        )
    path = run_dir / REPORT
    try:
        write_atomically(path, render_report(run).encode())
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error
    return path


def render_report(run: RunFolder) -> str:
    """The page as text. A section that cannot be built from what the files hold is named at the end."""
    problems = list(run.unreadable)
    sections: list[Markup | None] = []
    for build in SECTIONS:
        try:
            sections.append(build(run))
        except Exception as error:  # a report of the rest is worth more than the reason's type
            problems.append(f"section {build.__name__}: {type(error).__name__}: {error}")
    sections.append(_problems(problems))
    template = resources.files("bodvcl.viz").joinpath("report.html").read_text(encoding="utf-8")
    return Template(template).substitute(
        title=escape(run.path.resolve().name or "run"),
        lead=escape(_lead(run.config)),
        sections=join(part for part in sections if part is not None),
        footer=escape(f"Written by bodvcl {bodvcl.__version__} from {run.path.resolve()}"),
    )


def _lead(config: dict[str, Any]) -> str:
    if not config:
        return "Report of a pre-training run."
    method = TITLES.get(config.get("method"), str(config.get("method", "")))
    what = method + DECOUPLE.get(config.get("decouple"), "")
    return f"{what} on {config.get('data', 'videos')}, seed {config.get('seed', '?')}"


def headline(run: RunFolder) -> Markup | None:
    """The numbers that one looks for first."""
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
    """What a linear classifier reads from the frozen encoder."""
    backbone = [row for row in run.probe if row["features"] == "backbone"]
    if not backbone:
        return None
    parts = [
        paragraph(
            "Can a linear classifier read each semantic from the frozen backbone? Where the coloured bar "
            "is longer than the grey one, pre-training helped; what the grey bar has beyond the dotted line, "
            "the untrained network gives already. Thin lines and ± are 95% intervals: a gain within its ± "
            "may be chance."
        ),
        probe_bars(backbone),
    ]
    streams = {
        f"{kind} stream": [row for row in run.probe if row["features"] == kind]
        for kind in ("static", "dynamic")
        if any(row["features"] == kind for row in run.probe)
    }
    if streams:
        parts += [
            paragraph(
                "The same probe on the two streams of the pre-trained projector, in percent. In a clean "
                "split, static semantics are read better from the static stream and dynamic ones from the "
                "dynamic stream."
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
            run,
            "loss-contrastive",
            "Contrastive loss",
            upper,
            "loss",
            "Falling means that clips of one video come closer together than clips of different videos; a "
            "stream that stays flat is not being learned.",
        ),
        _training_chart(
            run,
            "loss-pred",
            "Prediction loss L_pred",
            _curves(run, ("loss_pred", "L_pred", EXTRA)),
            "loss",
            "How far a linear operator is off when it predicts the next frame's embedding from this one; "
            "lower is more linear.",
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
        "it decays, grows or turns (dynamic). The grey circle is the unit circle; the small blue one holds "
        "everything closer to 1 than xi."
    )
    if koopman.get("mask") == "smooth":
        text += " Dashed lines: where 10, 50 and 90% of a mode go to the static stream."
    return section("spectrum", "Eigenvalues of the Koopman operator", paragraph(text), grid(panels))


def similarity(run: RunFolder) -> Markup | None:
    """Frame similarity, as a matrix and by lag."""
    if run.analysis is None:
        return None
    after, before = run.analysis.after, run.analysis.before
    panels = [
        chart(
            "similarity-matrix",
            "Similarity between frames",
            similarity_matrix(after.similarity),
            "Mean over clips for the pre-trained backbone; bright near the diagonal and darker away from it "
            "means that frames are told apart in order of time.",
        ),
        chart(
            "similarity-lag",
            "Similarity by lag",
            similarity_over_lag(after, before),
            "A line that falls with the lag means that features follow time; a flat line at 1 means that all "
            "frames look the same to the encoder. The band holds 80% of the clips.",
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
            run,
            "static-modes",
            "Static modes per clip",
            _curves(run, ("static_modes", "static modes", STATIC)),
            "modes",
            "About one or more is healthy; a fall towards 0 means that the static stream is running empty.",
            from_zero=True,
        ),
        _training_chart(
            run,
            "empty-streams",
            "Clips with an empty stream",
            empty,
            "share of clips",
            "Should stay near 0%: an empty stream is a vector of zeros and teaches nothing.",
            share=True,
        ),
    ]
    return _grid_section("health", "Health of the split", panels, *note)


def throughput(run: RunFolder) -> Markup | None:
    """Speed, waiting, gradient and learning rate."""
    panels = [
        _training_chart(
            run,
            "speed",
            "Throughput",
            _curves(run, ("clips_per_second", "clips per second", INK)),
            "clips per second",
            "Should be level; a drop is another program, a slow disk or a long video.",
            from_zero=True,
        ),
        _training_chart(
            run,
            "wait",
            "Waiting for data",
            _curves(run, ("data_wait", "wait", DYNAMIC)),
            "share of time",
            "Near 0%: decoding keeps up with training. Large: more workers or smaller videos would help.",
            share=True,
        ),
        _training_chart(
            run,
            "gradient",
            "Gradient norm",
            _curves(run, ("grad_norm", "norm", INK)),
            "norm before clipping",
            "Lone spikes are usual with the spectral split and are clipped; a steady rise is a warning.",
        ),
        _training_chart(
            run,
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
    """What the run says of itself."""
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


def _problems(lines: list[str]) -> Markup | None:
    """What is missing from the page although its file is there."""
    if not lines:
        return None
    text = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return section("problems", "What could not be shown", Markup(f"<ul>{text}</ul>"))


def _tile(name: str, value: str, note: str) -> str:
    body = f"<dt>{escape(name)}</dt><dd>{escape(value)}<small>{escape(note)}</small></dd>"
    return f'<div class="tile">{body}</div>'


def _curves(run: RunFolder, *wanted: tuple[str, str, str]) -> list[Curve]:
    return [Curve(label, run.metrics[name], colour) for name, label, colour in wanted if name in run.metrics]


def _training_chart(
    run: RunFolder, name: str, title: str, curves: list[Curve], ylabel: str, caption: str, **options: bool
) -> Markup | None:
    if not curves:
        return None
    figure: Figure = training_curves(run.metrics["step"], curves, ylabel, **options)
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
    return clip[np.unique(np.linspace(0, len(clip) - 1, min(count, len(clip))).round().astype(int))]
