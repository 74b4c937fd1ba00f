"""The evaluation at the end of a run: probe and analysis of the untrained and the pre-trained encoder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from bodvcl.config.schema import TrainConfig
from bodvcl.data.clips.augment import finish
from bodvcl.data.clips.batch import ClipBatch
from bodvcl.data.files.video import VideoInfo
from bodvcl.data.sources.evaluation import evaluation_clips
from bodvcl.errors import DataError
from bodvcl.evaluate.analysis import analyse, example_frames
from bodvcl.evaluate.columns import choose_labels, with_labels
from bodvcl.evaluate.comparison import comparison_rows, save_probe
from bodvcl.evaluate.features import extract_features
from bodvcl.evaluate.probe import Score, left_out_scores, probe_videos
from bodvcl.evaluate.splits import divide
from bodvcl.models.encoder import VideoEncoder
from bodvcl.runs.analysis import save_analysis

PROBE = "probe.json"
ANALYSIS = "analysis.npz"
MAX_VIDEOS = 2048
"""Videos evaluated at most, evenly spread over those given; their clips are kept in memory."""
ANALYSIS_BATCHES = 4
"""Batches of clips, evenly spread, whose eigenvalues and frame similarities are analysed."""
EXAMPLES = 8
"""Clips shown as pictures."""
PROBED = ("backbone", "static", "dynamic")
"""Kinds of features that are probed."""

T = TypeVar("T")


def evaluate_run(
    untrained: VideoEncoder,
    pretrained: VideoEncoder,
    videos: Sequence[VideoInfo],
    config: TrainConfig,
    run_dir: Path,
    device: torch.device | str,
    *,
    kinds: Mapping[str, str] | None = None,
    clips_per_video: int = 1,
) -> list[dict[str, Any]]:
    """Evaluate two encoders on the same clips; write ``probe.json`` and ``analysis.npz`` into ``run_dir``.

    ``videos``: with or without labels; :func:`bodvcl.evaluate.splits.divide` says which train the probe and
    which test it, and :func:`bodvcl.evaluate.columns.choose_labels` which columns are labels; the others have
    rows that say why they were skipped. ``kinds``: which label columns are "static" or "dynamic".
    Both encoders stay on ``device``, with their training flags as they were. Returns the rows of
    :func:`bodvcl.evaluate.comparison.comparison_rows`, none where the data has no label column.
    Raises :class:`~bodvcl.errors.DataError` where no video can be read.
    """
    chosen = spread(videos, MAX_VIDEOS)
    batches = list(evaluation_clips(chosen, config.clip, clips_per_video=clips_per_video))
    if not batches:
        raise DataError(f"none of {len(chosen)} videos could be read for the evaluation")
    seen = [chosen[int(index)] for batch in batches for index in batch.videos]
    choice = choose_labels(videos, seed=config.seed)
    division = divide(with_labels(seen, choice.labels), config.seed)
    labels = {name: [seen[row].labels.get(name) for row in division.rows] for name in choice.labels}
    untrained, pretrained = untrained.to(device), pretrained.to(device)

    def ready(selected: Sequence[ClipBatch]) -> Iterator[Tensor]:
        for batch in selected:
            yield finish(batch, config.augment, device).unflatten(0, (len(batch.videos), -1))

    def probe(encoder: VideoEncoder) -> list[Score]:
        left_out = left_out_scores(PROBED, choice.left_out, "ridge")
        if not labels:
            return left_out
        features = extract_features(encoder, ready(batches), device, config.koopman)
        probed = {kind: features[kind][division.rows] for kind in PROBED}
        ridge = probe_videos(probed, labels, division.train, config.seed, probes=("ridge",))
        return [score for score in ridge if score.metric == "top1"] + left_out

    rows: list[dict[str, Any]] = []
    if labels or choice.left_out:
        rows = comparison_rows(probe(untrained), probe(pretrained), kinds)
        save_probe(rows, run_dir / PROBE)
    some = spread(batches, ANALYSIS_BATCHES)
    pictures = spread([batch.clips[k] for batch in batches for k in _first_clips(batch)], EXAMPLES)
    save_analysis(
        run_dir / ANALYSIS,
        analyse(pretrained, ready(some), device, config.koopman),
        analyse(untrained, ready(some), device, config.koopman),
        example_frames(torch.stack(pictures)),
        [caption(video) for video in spread(seen, EXAMPLES)],
    )
    return rows


def caption(video: VideoInfo) -> str:
    """File name and labels of a video in one line."""
    labels = (f"{name} {value}" for name, value in video.labels.items())
    return " · ".join([Path(video.path).name, *labels])


def spread(items: Sequence[T], count: int) -> list[T]:
    """At most ``count`` items, evenly spread from the first to the last."""
    places = np.linspace(0, len(items) - 1, min(count, len(items))).round().astype(int)
    return [items[place] for place in places]


def _first_clips(batch: ClipBatch) -> range:
    """Rows of the first clip of each video."""
    views = len(batch.clips) // len(batch.videos)
    return range(0, len(batch.clips), views)
