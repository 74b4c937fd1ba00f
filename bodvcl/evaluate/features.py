"""Frozen features of whole videos, for the linear probe."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from bodvcl.config import KoopmanConfig
from bodvcl.evaluate.clips import frozen, to_encoder, unfold_clips
from bodvcl.models.streams import koopman_streams


def extract_features(
    encoder: nn.Module, batches: Iterable[Tensor], device: torch.device | str, koopman: KoopmanConfig
) -> dict[str, Tensor]:
    """Features of each video under a frozen encoder: means over its frames and clips.

    ``batches``: clips ready for the encoder, ``(N, 3, L, H, W)``, or ``(N, V, 3, L, H, W)`` with V clips a
    video. Returns float32 tensors on the CPU, one row a video in the order given: ``backbone (videos, D)``
    and the two projected streams ``static (videos, M)`` and ``dynamic (videos, M)`` (Eq. 21).
    Raises ``ValueError`` for clips of another rank and where there is no batch at all.
    """
    rows: dict[str, list[Tensor]] = {"backbone": [], "static": [], "dynamic": []}
    with frozen(encoder):
        for batch in batches:
            clips, views = unfold_clips(batch)
            clips = to_encoder(clips, encoder, device)
            streams = koopman_streams(encoder(clips), koopman, None).embeddings
            for name, value in {"backbone": encoder.frames(clips).mean(1), **streams}.items():
                rows[name].append(value.float().unflatten(0, (-1, views)).mean(1).cpu())
    if not rows["backbone"]:
        raise ValueError("no batch of clips was given; expected at least one video")
    return {name: torch.cat(values) for name, values in rows.items()}
