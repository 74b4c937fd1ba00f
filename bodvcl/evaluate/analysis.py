"""Analysis of an encoder on clips: eigenvalues (Figure 4a), frame similarity (Figure 11), example frames."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from bodvcl.config.schema import KoopmanConfig
from bodvcl.evaluate.clips import frozen, to_encoder, unfold_clips
from bodvcl.evaluate.spectrum import clip_spectrum, mask_value
from bodvcl.models.encoder import VideoEncoder
from bodvcl.runs.analysis import Analysis

MAX_EXAMPLE_SIDE = 96
"""Largest length of the longer side of example frames in pixels."""


def frame_similarity(frames: Tensor) -> Tensor:
    """Cosine similarity of every frame with every other (Eq. 26): ``(N, T, D)`` -> ``(N, T, T)`` in [-1, 1].

    The similarity of a frame of zeros is 0 with every frame.
    """
    unit = F.normalize(frames.double(), dim=-1)
    return unit @ unit.transpose(-1, -2)


def similarity_by_lag(similarity: Tensor) -> Tensor:
    """Mean of the k-th super-diagonal for k = 0 .. T - 1: ``(N, T, T)`` -> ``(N, T)``."""
    lags = range(similarity.shape[-1])
    return torch.stack([similarity.diagonal(k, -2, -1).mean(-1) for k in lags], dim=-1)


def analyse(
    encoder: VideoEncoder, batches: Iterable[Tensor], device: torch.device | str, koopman: KoopmanConfig
) -> Analysis:
    """Run the frozen encoder on clips and collect the arrays.

    Args:
        encoder: the encoder, on ``device``.
        batches: normalised clips ``(N, 3, L, H, W)``, or ``(N, V, 3, L, H, W)`` with V clips per video.
        device: where the encoder is.
        koopman: estimation and mask.

    Raises:
        ValueError: there is no clip.
    """
    spectra: list[tuple[Tensor, Tensor]] = []
    similarities: list[Tensor] = []
    with frozen(encoder):
        for batch in batches:
            frames = encoder.frames(to_encoder(unfold_clips(batch)[0], encoder, device))
            spectra.append(clip_spectrum(encoder.project(frames), koopman))
            similarities.append(frame_similarity(frames).cpu())
    if not spectra:
        raise ValueError("no batch of clips was given; expected at least one clip")
    eigenvalues, static_modes = (torch.cat(parts).cpu() for parts in zip(*spectra))
    similarity = torch.cat(similarities)
    lag = similarity_by_lag(similarity)
    low, high = torch.quantile(lag, torch.tensor([0.1, 0.9], dtype=lag.dtype), dim=0)
    return Analysis(
        eigenvalues=eigenvalues.to(torch.complex64).numpy(),
        weights=mask_value(eigenvalues, koopman).abs().float().numpy(),
        static_modes=static_modes.float().numpy(),
        similarity=similarity.mean(0).float().numpy(),
        lag_mean=lag.mean(0).float().numpy(),
        lag_low=low.float().numpy(),
        lag_high=high.float().numpy(),
    )


def example_frames(clips: Tensor) -> NDArray[np.uint8]:
    """Shrink clips for a page: uint8 ``(N, L, H, W, 3)`` -> uint8 ``(N, L, H', W', 3)``.

    The longer side of the result has at most ``MAX_EXAMPLE_SIDE`` pixels.
    """
    count, _, height, width, _ = clips.shape
    shrink = min(1.0, MAX_EXAMPLE_SIDE / max(height, width))
    if shrink == 1:
        return clips.cpu().numpy()
    size = (max(1, round(height * shrink)), max(1, round(width * shrink)))
    pictures = F.interpolate(clips.flatten(0, 1).permute(0, 3, 1, 2).float(), size=size, mode="area")
    small: Tensor = pictures.round().byte().permute(0, 2, 3, 1).unflatten(0, (count, -1))
    return small.cpu().numpy()
