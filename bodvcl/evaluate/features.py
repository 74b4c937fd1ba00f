"""Frozen features of whole videos."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from bodvcl.config.schema import KoopmanConfig
from bodvcl.evaluate.clips import frozen, to_encoder, unfold_clips
from bodvcl.models.encoder import VideoEncoder
from bodvcl.models.streams import koopman_streams

KINDS = ("backbone", "projector", "static", "dynamic")
"""Kinds of features, as :func:`extract_features` names them."""


def extract_features(
    encoder: VideoEncoder, batches: Iterable[Tensor], device: torch.device | str, koopman: KoopmanConfig
) -> dict[str, Tensor]:
    """Features of each video under a frozen encoder: means over its frames and clips.

    ``batches``: clips ready for the encoder, ``(N, 3, L, H, W)``, or ``(N, V, 3, L, H, W)`` with V clips a
    video. Returns float32 tensors on the CPU, one row a video in the order given: ``backbone (videos, D)``,
    and of the projector's embeddings the mean over frames, ``projector (videos, M)``, and the two streams
    ``static (videos, M)`` and ``dynamic (videos, M)`` (Eq. 21).
    Raises ``ValueError`` for clips of another rank and where there is no batch at all.
    """
    rows: dict[str, list[Tensor]] = {kind: [] for kind in KINDS}
    with frozen(encoder):
        for batch in batches:
            clips, views = unfold_clips(batch)
            frames = encoder.frames(to_encoder(clips, encoder, device))
            embeddings = encoder.project(frames)
            streams = koopman_streams(embeddings, koopman, None).embeddings
            means = {"backbone": frames.mean(1), "projector": embeddings.mean(1), **streams}
            for kind, value in means.items():
                rows[kind].append(value.float().unflatten(0, (-1, views)).mean(1).cpu())
    if not rows["backbone"]:
        raise ValueError("no batch of clips was given; expected at least one video")
    return {kind: torch.cat(values) for kind, values in rows.items()}
