"""Features of a data set under one encoder: from the cache, or computed from the videos."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch

from bodvcl.data.clips.batch import ClipBatch
from bodvcl.data.files.video import VideoInfo
from bodvcl.errors import DataError
from bodvcl.evaluate.controls import Control
from bodvcl.evaluate.feature_cache import feature_key, load_features, save_features
from bodvcl.evaluate.features import VideoFeatures, batch_features
from bodvcl.evaluate.probed_encoder import ProbedEncoder
from bodvcl.evaluate.reading import read_clips
from bodvcl.text.progress import progress_bar


def video_features(
    probed: ProbedEncoder,
    videos: Sequence[VideoInfo],
    device: torch.device,
    *,
    clips_per_video: int,
    control: Control | None = None,
    cache: Path | None = None,
    workers: int | None = None,
    say: Callable[[str], None] = print,
) -> VideoFeatures:
    """Features of all videos that can be read.

    Args:
        probed: the encoder, frozen while it is used, and the clips that it takes.
        videos: videos to read.
        device: where the encoder runs.
        clips_per_video: clips whose features are averaged.
        control: what is done to the clips. None: nothing.
        cache: folder where features are kept. None: they are not kept.
        workers: decoding processes, see :func:`~bodvcl.evaluate.reading.read_clips`.
        say: takes lines for the user.

    Returns:
        Features of every kind; ``rows`` are numbers in ``videos``.

    Raises:
        DataError: no video can be read, or a decoding process died.
    """
    key = "" if cache is None else feature_key(probed, videos, clips_per_video, control, device)
    found = None if cache is None else load_features(cache, key)
    if cache is not None and found is not None:
        say(f"features of {probed.name}: reused from {cache / key}.npz (--no-cache computes them anew)")
        return found
    read = read_clips(videos, probed.clip, clips_per_video=clips_per_video, control=control, workers=workers)
    batches = _with_progress(read, probed.name, len(videos))
    first = next(batches, None)
    if first is None:
        raise DataError(f"none of {len(videos)} videos could be read")
    features = batch_features(
        probed.encoder, itertools.chain([first], batches), probed.augment, probed.koopman, device
    )
    if cache is not None:
        try:
            save_features(cache, key, features)
        except OSError as error:
            say(f"features of {probed.name} are not kept: cannot write to {cache}: {error.strerror or error}")
    return features


def _with_progress(batches: Iterator[ClipBatch], name: str, videos: int) -> Iterator[ClipBatch]:
    """Hand the batches on; the bar moves when the next one is asked for, that is when one is done."""
    with progress_bar(desc=f"features of {name}", total=videos, unit="video") as bar:
        for batch in batches:
            yield batch
            bar.update(int(batch.videos[-1]) + 1 - bar.n)
