"""Features of a data set under one encoder: from the cache, or from the videos."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bodvcl.config.schema import TrainConfig
from bodvcl.data.clips.augment import finish
from bodvcl.data.files.video import VideoInfo
from bodvcl.errors import DataError
from bodvcl.evaluate.controls import Control
from bodvcl.evaluate.feature_cache import VideoFeatures, feature_key, load_features, save_features
from bodvcl.evaluate.features import extract_features
from bodvcl.evaluate.reading import read_clips
from bodvcl.models.encoder import VideoEncoder
from bodvcl.text.progress import progress_bar


def video_features(
    encoder: VideoEncoder,
    config: TrainConfig,
    videos: Sequence[VideoInfo],
    device: torch.device,
    *,
    name: str,
    clips_per_video: int,
    control: Control | None = None,
    cache: Path | None = None,
    workers: int | None = None,
    say: Callable[[str], None] = print,
) -> VideoFeatures:
    """Features of all videos that can be read, every kind that :func:`extract_features` knows.

    Args:
        encoder: frozen while it is used.
        config: gives clips, normalisation and Koopman split.
        videos: any list.
        device: where the encoder runs.
        name: of the encoder, for the user.
        clips_per_video: clips whose features are averaged.
        control: what is done to the clips. None: nothing.
        cache: folder where features are kept. None: they are not.
        workers: see :func:`~bodvcl.evaluate.reading.read_clips`.
        say: takes lines for the user.

    Raises:
        DataError: no video can be read, or a decoding process died.
    """
    key = "" if cache is None else feature_key(encoder, config, videos, clips_per_video, control, device)
    found = None if cache is None else load_features(cache, key)
    if cache is not None and found is not None:
        say(f"features of {name}: reused from {cache / key}.npz (--no-cache computes them anew)")
        return found
    rows: list[int] = []
    batches = read_clips(
        videos, config.clip, clips_per_video=clips_per_video, control=control, workers=workers
    )

    def ready() -> Iterator[Tensor]:
        with progress_bar(desc=f"features of {name}", total=len(videos), unit="video") as bar:
            for batch in batches:
                rows.extend(batch.videos.tolist())
                yield finish(batch, config.augment, device).unflatten(0, (len(batch.videos), -1))
                bar.update(int(batch.videos[-1]) + 1 - bar.n)

    clips = ready()
    first = next(clips, None)
    if first is None:
        raise DataError(f"none of {len(videos)} videos could be read")
    kinds = extract_features(encoder.to(device), itertools.chain([first], clips), device, config.koopman)
    features = VideoFeatures(np.array(rows, dtype=np.int64), kinds)
    if cache is not None:
        try:
            save_features(cache, key, features)
        except OSError as error:
            say(f"features of {name} are not kept: cannot write to {cache}: {error.strerror or error}")
    return features
