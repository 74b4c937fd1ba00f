"""The figure ``epochs``: what a probe reads from every kept checkpoint of each run (Fig. 9)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from bodvcl.data.files.video import VideoInfo
from bodvcl.engine.checkpoint import ENCODER, kept_checkpoints, load_kept
from bodvcl.engine.learner import untrained_encoder
from bodvcl.errors import CheckpointError, DataError
from bodvcl.evaluate.columns import LabelChoice
from bodvcl.evaluate.features import VideoFeatures
from bodvcl.evaluate.label_scores import score_labels
from bodvcl.evaluate.probed_encoder import ProbedEncoder
from bodvcl.evaluate.score import Score
from bodvcl.evaluate.video_features import video_features
from bodvcl.figures.folder import FigureFolder, file_name
from bodvcl.figures.opened import OpenedRun
from bodvcl.figures.options import FigureOptions
from bodvcl.models.encoder import VideoEncoder
from bodvcl.viz.figures import legend_above
from bodvcl.viz.html import Markup, chart, grid
from bodvcl.viz.svg import MUTED, new_figure, styled

UNTRAINED = "untrained"


class Probed(NamedTuple):
    """The scores of one checkpoint.

    Attributes:
        run: its run.
        checkpoint: name of its file, or "untrained".
        step: steps that were done.
        epoch: epochs that were done; NaN: not known.
        scores: top-1 of every label and kind of features.
    """

    run: OpenedRun
    checkpoint: str
    step: int
    epoch: float
    scores: list[Score]


def refuse_without_kept(runs: Sequence[OpenedRun]) -> None:
    """Raise :class:`~bodvcl.errors.CheckpointError` if a run has kept no checkpoint."""
    without = [run.name for run in runs if not kept_checkpoints(run.path)]
    if without:
        raise CheckpointError(
            f"{', '.join(without)} kept no checkpoint on the way (checkpoint/epoch-*.pt or step-*.pt); "
            "train with --log.keep-every 1, which keeps one of every epoch"
        )


def probe_epochs(
    options: FigureOptions,
    runs: Sequence[OpenedRun],
    videos: Sequence[VideoInfo],
    choice: LabelChoice,
    device: torch.device,
    say: Callable[[str], None],
) -> list[Probed]:
    """Probe the untrained encoder, every kept checkpoint and the final encoder of each run.

    Features are kept in the cache of ``bodvcl probe``, so that a second call reads no video.

    Args:
        options: probe, features, cache, workers.
        runs: the runs.
        videos: the videos that the choice was made from.
        choice: label columns and the division into a training and a test part.
        device: where the encoders run.
        say: takes lines for the user.
    """
    return [point for run in runs for point in _probe_run(options, run, videos, choice, device, say)]


def draw_epochs(
    options: FigureOptions, probed: Sequence[Probed], labels: Sequence[str], folder: FigureFolder
) -> list[Markup]:
    """A panel for each kind of features and label, a line for each run; ``epochs.csv`` has the numbers."""
    panels: list[Markup] = []
    for kind in options.features:
        for label in labels:
            points = [(p, s) for p in probed for s in p.scores if (s.features, s.semantic) == (kind, label)]
            points = [(p, s) for p, s in points if s.hits is not None]
            if not points:
                continue
            name = f"epochs-{file_name(kind, label)}"
            figure = accuracy_chart(points)
            folder.save_figure(name, figure)
            test = points[0][1].test
            title = label if kind == "backbone" else f"{label}, {kind}"
            caption = (
                f"{options.probe} on {kind}, {test} test videos. Bands are 95% intervals over the test "
                "videos; dotted: chance."
            )
            panels.append(chart(name, title, figure, caption))
    rows = [_row(p, score) for p in probed for score in p.scores if score.hits is not None]
    if not panels:
        reasons = {f"{s.semantic}: {s.skipped}" for p in probed for s in p.scores if s.skipped}
        raise DataError(f"no label can be probed ({'; '.join(sorted(reasons))})")
    folder.save_table("epochs", rows)
    return [grid(panels)]


@styled
def accuracy_chart(points: Sequence[tuple[Probed, Score]]) -> Figure:
    """Accuracy over epochs, or over steps where the epochs of a run are not known."""
    figure, axes = new_figure()
    by_epoch = all(np.isfinite(p.epoch) for p, _ in points)
    for run in dict.fromkeys(p.run.path for p, _ in points):
        own = [(p, s) for p, s in points if p.run.path == run]
        x = [p.epoch if by_epoch else p.step for p, _ in own]
        low, high = zip(*(s.interval for _, s in own))
        axes.fill_between(x, low, high, color=own[0][0].run.colour, alpha=0.15, linewidth=0)
        values = [s.value for _, s in own]
        axes.plot(x, values, color=own[0][0].run.colour, marker="o", markersize=3.5, label=own[0][0].run.name)
    axes.axhline(points[0][1].chance, color=MUTED, linestyle=":", linewidth=1.2)
    axes.set(xlabel="epoch" if by_epoch else "step", ylabel="accuracy", ylim=(0, 1.03))
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    legend_above(axes)
    return figure


def _probe_run(
    options: FigureOptions,
    run: OpenedRun,
    videos: Sequence[VideoInfo],
    choice: LabelChoice,
    device: torch.device,
    say: Callable[[str], None],
) -> list[Probed]:
    """The points of one run by their steps, each step once; one encoder is in memory at a time."""
    points: dict[int, tuple[str, list[Score]]] = {}
    for name, step, encoder in _encoders(run):
        if step not in points:
            probed = run.probed(encoder, f"{run.name}, {name}")
            points[step] = name, _scores(options, probed, videos, choice, device, say)
    per_epoch = _steps_per_epoch(run, {name: step for step, (name, _) in points.items()})
    return [
        Probed(run, name, step, step / per_epoch, scores) for step, (name, scores) in sorted(points.items())
    ]


def _encoders(run: OpenedRun) -> Iterator[tuple[str, int, VideoEncoder]]:
    """Name, steps and encoder of every checkpoint, and of the network before the first step."""
    if run.config.model.weights is None:  # the file of published weights may not be here
        yield UNTRAINED, 0, untrained_encoder(run.config.model, run.config.seed)
    for path in (*kept_checkpoints(run.path), run.path / ENCODER):
        kept = load_kept(path)
        yield path.name, kept.step, kept.encoder


def _steps_per_epoch(run: OpenedRun, steps: Mapping[str, int]) -> float:
    """From a checkpoint that is named by its epoch, else from the planned length; NaN: not known."""
    for name, step in steps.items():
        if name.startswith("epoch-"):
            return step / int(Path(name).stem.removeprefix("epoch-"))
    planned = run.contents.summary.get("planned steps")
    return planned / run.config.epochs if isinstance(planned, int) else np.nan


def _scores(
    options: FigureOptions,
    encoder: ProbedEncoder,
    videos: Sequence[VideoInfo],
    choice: LabelChoice,
    device: torch.device,
    say: Callable[[str], None],
) -> list[Score]:
    rows = choice.division.rows
    features = video_features(
        encoder,
        [videos[row] for row in rows],
        device,
        clips_per_video=options.clips_per_video,
        cache=options.feature_folder,
        workers=options.workers,
        say=say,
    )
    features = VideoFeatures(rows[features.rows], features.kinds)
    scores = score_labels(features, choice, options.features, (options.probe,), seed=options.seed)
    return [score for score in scores if score.metric == "top1"]


def _row(probed: Probed, score: Score) -> dict[str, Any]:
    low, high = score.interval
    return {
        "run": probed.run.name,
        "checkpoint": probed.checkpoint,
        "step": probed.step,
        "epoch": probed.epoch,
        "label": score.semantic,
        "features": score.features,
        "probe": score.probe,
        "accuracy": score.value,
        "low": low,
        "high": high,
        "chance": score.chance,
        "train": score.train,
        "test": score.test,
    }
