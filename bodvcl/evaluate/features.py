"""Frozen features of whole videos."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bodvcl.config.backbones import GEOMETRY
from bodvcl.config.schema import AugmentConfig, KoopmanConfig, ModelConfig
from bodvcl.data.clips.augment import finish
from bodvcl.data.clips.batch import ClipBatch
from bodvcl.evaluate.clips import frozen, to_encoder, unfold_clips
from bodvcl.evaluate.names import FEATURE_KINDS
from bodvcl.models.encoder import VideoEncoder, mean_and_std
from bodvcl.models.streams import koopman_streams


@dataclass(frozen=True)
class VideoFeatures:
    """Features of the videos that could be read.

    Attributes:
        rows: int64 ``(videos,)``: their numbers in the list of videos, increasing.
        kinds: kind of features to float32 ``(videos, width)``.
    """

    rows: NDArray[np.int64]
    kinds: dict[str, Tensor]

    def only(self, rows: NDArray[np.int64]) -> VideoFeatures:
        """Features of these videos, a part of ``self.rows`` in increasing order."""
        places = np.searchsorted(self.rows, rows)
        return VideoFeatures(rows, {kind: values[places] for kind, values in self.kinds.items()})


def video_clips(batch: ClipBatch, augment: AugmentConfig, device: torch.device | str) -> Tensor:
    """A batch on the device and normalised, as float32 ``(N, V, 3, L, S, S)`` with V clips per video."""
    clips: Tensor = finish(batch, augment, device).unflatten(0, (len(batch.videos), -1))
    return clips


def batch_features(
    encoder: VideoEncoder,
    batches: Iterable[ClipBatch],
    augment: AugmentConfig,
    koopman: KoopmanConfig,
    device: torch.device | str,
) -> VideoFeatures:
    """Features of every video in the batches, of every kind that :func:`extract_features` knows.

    Args:
        encoder: frozen while it is used; it is moved to the device.
        batches: clips; each batch says which videos it holds, their numbers increase.
        augment: normalisation, ``mean`` and ``std``.
        koopman: estimation and split of the streams.
        device: where the encoder runs.

    Raises:
        ValueError: there is no batch.
    """
    rows: list[int] = []

    def ready() -> Iterator[Tensor]:
        for batch in batches:
            rows.extend(batch.videos.tolist())
            yield video_clips(batch, augment, device)

    kinds = extract_features(encoder.to(device), ready(), device, koopman)
    return VideoFeatures(np.array(rows, dtype=np.int64), kinds)


def clip_features(
    encoder: VideoEncoder, clips: Tensor, koopman: KoopmanConfig, autocast: torch.dtype | None = None
) -> tuple[Tensor, dict[str, Tensor]]:
    """Features of the frames of N clips, and of every clip the kinds that :func:`extract_features` knows.

    Args:
        encoder: frozen.
        clips: normalised ``(N, 3, L, H, W)``, on the encoder's device.
        koopman: estimation and split of the streams, which are computed in float32 or better.
        autocast: dtype of autocast for the encoder. None: no autocast.
    """
    with torch.autocast(clips.device.type, autocast, enabled=autocast is not None):
        frames = encoder.frames(clips)
        embeddings = encoder.project(frames)
    if autocast is not None:
        frames, embeddings = frames.float(), embeddings.float()
    return frames, {
        "backbone": frames.mean(1),
        "backbone+std": mean_and_std(frames),
        "projector": embeddings.mean(1),
        **koopman_streams(embeddings, koopman, None).embeddings,
    }


def still_features(
    encoder: VideoEncoder, clips: Tensor, frames: int, autocast: torch.dtype | None = None
) -> Tensor:
    """Means ``(N, D)`` over time of the features of clips whose middle frame is held: what the encoder sees
    where nothing moves.

    Args:
        encoder: frozen.
        clips: normalised ``(N, 3, L, H, W)``, on the encoder's device.
        frames: for how many frames it is held, see :func:`frames_held`.
        autocast: dtype of autocast. None: no autocast.
    """
    middle = clips[:, :, clips.shape[2] // 2, None].expand(-1, -1, frames, -1, -1)
    with torch.autocast(clips.device.type, autocast, enabled=autocast is not None):
        found = encoder.frames(middle)
    return found.float().mean(1)


def frames_held(model: ModelConfig, frames: int) -> int:
    """For how many frames a still clip must be held: 1, if that gives the features of ``frames`` frames.

    It does where the outer frames of a clip are repeated at its ends: every convolution then sees one frame
    again and again, however long the clip. Zeros at the ends tell the length, and so do codes of places in
    time.
    """
    endless = model.temporal_padding == "repeat" and GEOMETRY[model.backbone].frames_per_feature == 1
    return 1 if endless else frames


def over_clips(values: Tensor, views: int) -> Tensor:
    """Float32 ``(N, ...)``: means over the V clips of a video, which are neighbours in ``(N * V, ...)``."""
    means: Tensor = values.float().unflatten(0, (-1, views)).mean(1)
    return means


def extract_features(
    encoder: VideoEncoder, batches: Iterable[Tensor], device: torch.device | str, koopman: KoopmanConfig
) -> dict[str, Tensor]:
    """Features of each video under a frozen encoder: means over its frames and clips.

    Args:
        encoder: the encoder, on ``device``.
        batches: normalised clips ``(N, 3, L, H, W)``, or ``(N, V, 3, L, H, W)`` with V clips per video.
        device: where the encoder is.
        koopman: estimation and split of the streams.

    Returns:
        Float32 tensors on the CPU, one row per video in the order given: ``backbone (videos, D)``, the mean
        over frames; ``backbone+std (videos, 2 D)``, the mean and the standard deviation over the frames of a
        clip; and of the projector's embeddings the mean over frames, ``projector (videos, M)``, and the two
        streams ``static (videos, M)`` and ``dynamic (videos, M)`` (Eq. 21).

    Raises:
        ValueError: clips of another rank, or no batch at all.
    """
    rows: dict[str, list[Tensor]] = {kind: [] for kind in FEATURE_KINDS}
    with frozen(encoder):
        for batch in batches:
            clips, views = unfold_clips(batch)
            _, means = clip_features(encoder, to_encoder(clips, encoder, device), koopman)
            for kind, value in means.items():
                rows[kind].append(over_clips(value, views).cpu())
    if not rows["backbone"]:
        raise ValueError("no batch of clips was given; expected at least one video")
    return {kind: torch.cat(values) for kind, values in rows.items()}
