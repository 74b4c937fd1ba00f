"""The vectors of rows, from their clips."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from bodvcl.config.parse import validate
from bodvcl.config.schema import ClipConfig, TrainConfig
from bodvcl.data.clips.augment import finish
from bodvcl.data.clips.batch import ClipBatch
from bodvcl.embed.file import DYNAMIC, FRAMES, KINDS, POOLED, STATIC, STILL
from bodvcl.engine.checkpoint import trained_steps
from bodvcl.engine.precision import Arithmetic, pick_arithmetic, set_float32
from bodvcl.engine.upload import uploaded
from bodvcl.evaluate.clips import frozen, to_encoder
from bodvcl.evaluate.features import clip_features, frames_held, over_clips, still_features
from bodvcl.evaluate.options import ClipOptions
from bodvcl.evaluate.weights import weights_hash
from bodvcl.finetune.as_encoder import load_run_or_classifier
from bodvcl.finetune.saved import classifier_file
from bodvcl.models.encoder import VideoEncoder

_SOURCES = {POOLED: "backbone+std", STATIC: "static", DYNAMIC: "dynamic"}
"""Kind of vector to the kind of features that it is."""


@dataclass(frozen=True)
class Embedder:
    """An encoder that makes vectors of clips.

    Attributes:
        encoder: frozen while it is used, on ``device``.
        config: configuration of its run, with the clips that it is given here.
        device: where it runs.
        arithmetic: of the encoder; the Koopman split is in float32.
        kinds: kinds of vectors. A fine-tuned encoder has no projector, and so no streams.
        weights: SHA-256 of its weights.
        steps: its training steps; 0 where that is unknown.
    """

    encoder: VideoEncoder
    config: TrainConfig
    device: torch.device
    arithmetic: Arithmetic
    kinds: tuple[str, ...]
    weights: str
    steps: int

    @property
    def clip(self) -> ClipConfig:
        """The clips that it is given."""
        return self.config.clip


def open_embedder(checkpoint: Path, clip: ClipOptions, device: torch.device) -> Embedder:
    """Load an encoder for its vectors.

    Args:
        checkpoint: run of ``bodvcl train`` or ``bodvcl finetune``, or a file of theirs.
        clip: what replaces the clips of the run.
        device: where it runs.

    Raises:
        CheckpointError: it is neither, or cannot be read.
        ConfigError: clips out of range.
    """
    encoder, config = load_run_or_classifier(checkpoint)
    config = validate(dataclasses.asdict(dataclasses.replace(config, clip=clip.override(config.clip))))
    tuned = classifier_file(checkpoint) is not None
    on_gpu = device.type == "cuda"
    arithmetic = pick_arithmetic(config.precision if on_gpu else "fp32", config.fast, device)
    set_float32(arithmetic)
    return Embedder(
        encoder.to(device).eval(),
        config,
        device,
        arithmetic,
        (POOLED, STILL) if tuned else KINDS,
        weights_hash(encoder),
        0 if tuned else trained_steps(checkpoint),
    )


class Embedded(NamedTuple):
    """What a batch gave.

    Attributes:
        rows: numbers of its rows.
        shown: int64 ``(rows, clips, L)``: frame numbers of the clips of every row.
        vectors: kind to float32 ``(rows, width)``, and "frames" to ``(rows, clips * T, D)``.
        failures: (path, reason) of what could not be read.
    """

    rows: list[int]
    shown: NDArray[np.int64]
    vectors: dict[str, NDArray[Any]]
    failures: tuple[tuple[str, str], ...]


def embed_batches(
    embedder: Embedder, batches: Iterable[ClipBatch], clips: int, *, frames: bool
) -> Generator[Embedded]:
    """The vectors of the rows of each batch.

    Args:
        embedder: the encoder.
        batches: clips of rows; a batch may be empty, and then has no vectors.
        clips: clips of every row, whose vectors are averaged.
        frames: also "frames" ``(rows, clips * T, D)``, the features of every frame, clip by clip.
    """
    for batch in uploaded(batches, embedder.device):
        rows: list[int] = batch.videos.tolist()
        vectors = _vectors(embedder, batch, clips, frames) if rows else {}
        shown = batch.frames.cpu().numpy().reshape(len(rows), clips, embedder.clip.frames)
        yield Embedded(rows, shown, vectors, batch.failures)


def _vectors(embedder: Embedder, batch: ClipBatch, clips: int, frames: bool) -> dict[str, NDArray[Any]]:
    encoder, config, device = embedder.encoder, embedder.config, embedder.device
    with frozen(encoder):
        pixels = to_encoder(finish(batch, config.augment, device), encoder, device)
        found, features = clip_features(encoder, pixels, config.koopman, embedder.arithmetic.autocast)
        held = frames_held(config.model, pixels.shape[2])
        still = still_features(encoder, pixels, held, embedder.arithmetic.autocast)
        features = {kind: features[source] for kind, source in _SOURCES.items()} | {STILL: still}
        made = {kind: over_clips(features[kind], clips) for kind in embedder.kinds}
        if frames:
            made[FRAMES] = found.float().unflatten(0, (-1, clips)).flatten(1, 2)
        return {kind: values.cpu().numpy() for kind, values in made.items()}


def feature_times(frames: NDArray[np.int64], times: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """When the features of a row are: float64 ``(clips * T,)``, the mean time of the frames that each covers.

    Args:
        frames: ``(clips, L)``: frame numbers of the clips.
        times: when the frames of the video begin, in seconds.
        count: features of a row, clips * T; T divides L.
    """
    covered = times[frames].reshape(count, -1)
    means: NDArray[np.float64] = covered.mean(1)
    return means
