"""The evaluation at the end of a run: probe and analysis of the untrained and the pre-trained encoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from bodvcl.config.schema import AugmentConfig, ClipConfig, KoopmanConfig
from bodvcl.data.clips.batch import ClipBatch
from bodvcl.data.files.video import VideoInfo
from bodvcl.data.sources.evaluation import evaluation_clips
from bodvcl.errors import DataError
from bodvcl.evaluate.analysis import analyse, example_frames
from bodvcl.evaluate.columns import choose_labels
from bodvcl.evaluate.comparison import comparison_rows, save_probe
from bodvcl.evaluate.features import batch_features, video_clips
from bodvcl.evaluate.label_scores import score_labels
from bodvcl.evaluate.score import Score, left_out_scores
from bodvcl.models.encoder import VideoEncoder
from bodvcl.runs.analysis import Analysis, save_analysis

PROBE = "probe.json"
ANALYSIS = "analysis.npz"
MAX_VIDEOS = 2048
"""Largest number of videos that are evaluated, evenly spread over those given; their clips stay in memory."""
ANALYSIS_BATCHES = 4
"""Batches of clips, evenly spread, whose eigenvalues and frame similarities are analysed."""
EXAMPLES = 8
"""Clips shown as pictures."""
PROBED = ("backbone", "backbone+std", "static", "dynamic")
"""Kinds of features that are probed."""

T = TypeVar("T")


def evaluate_run(
    untrained: VideoEncoder,
    pretrained: VideoEncoder,
    videos: Sequence[VideoInfo],
    run_dir: Path,
    device: torch.device | str,
    *,
    clip: ClipConfig,
    augment: AugmentConfig,
    koopman: KoopmanConfig,
    seed: int = 0,
    kinds: Mapping[str, str] | None = None,
    clips_per_video: int = 1,
) -> list[dict[str, Any]]:
    """Evaluate two encoders on the same clips; write ``probe.json`` and ``analysis.npz`` into ``run_dir``.

    Args:
        untrained: the encoder before training. Both encoders are moved to ``device``; their training flags
            stay as they are.
        pretrained: the encoder after training.
        videos: videos with or without labels. :func:`bodvcl.evaluate.columns.choose_labels` says which
            columns are labels, and which videos train and test. The rows of other columns say why they were
            skipped.
        run_dir: folder of the run.
        device: where the encoders run.
        clip: length, stride and size of the clips.
        augment: normalisation, ``mean`` and ``std``.
        koopman: estimation and split of the streams.
        seed: seed of drawn halves.
        kinds: label column to "static" or "dynamic".
        clips_per_video: clips whose features are averaged.

    Returns:
        The rows of :func:`bodvcl.evaluate.comparison.comparison_rows`; none if the data has no label column.

    Raises:
        DataError: no video can be read.
    """
    numbers = spread(range(len(videos)), MAX_VIDEOS)
    read = evaluation_clips([videos[n] for n in numbers], clip, clips_per_video=clips_per_video)
    batches = [replace(batch, videos=torch.tensor(numbers)[batch.videos]) for batch in read]
    if not batches:
        raise DataError(f"none of {len(numbers)} videos could be read for the evaluation")
    choice = choose_labels(videos, seed=seed)

    def probe(encoder: VideoEncoder) -> list[Score]:
        if not choice.labels:
            return left_out_scores(PROBED, choice.left_out, "ridge")
        features = batch_features(encoder, batches, augment, koopman, device)
        scores = score_labels(features, choice, PROBED, ("ridge",), seed=seed)
        return [score for score in scores if score.metric == "top1"]

    rows: list[dict[str, Any]] = []
    if choice.labels or choice.left_out:
        rows = comparison_rows(probe(untrained), probe(pretrained), kinds)
        save_probe(rows, run_dir / PROBE)
    some = spread(batches, ANALYSIS_BATCHES)
    pictures = spread([batch.clips[k] for batch in batches for k in _first_clips(batch)], EXAMPLES)
    shown = spread([videos[n] for batch in batches for n in batch.videos.tolist()], EXAMPLES)

    def analysis(encoder: VideoEncoder) -> Analysis:
        clips = (video_clips(batch, augment, device) for batch in some)
        return analyse(encoder.to(device), clips, device, koopman)

    save_analysis(
        run_dir / ANALYSIS,
        analysis(pretrained),
        analysis(untrained),
        example_frames(torch.stack(pictures)),
        [caption(video) for video in shown],
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
