"""What the decoding processes send to the training: clips as bytes, and their augmentation parameters."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor


@dataclass(frozen=True)
class ClipParams:
    """Augmentation parameters of N clips; :func:`bodvcl.data.clips.augment.finish` applies them.

    Attributes:
        colour: float32 (N, 3, 4), affine map of RGB in [0, 1].
        flip: bool (N,), mirror left and right.
        sigma: float32 (N,), standard deviation of the blur in pixels, 0 for none.
        share: float32 (N,), share of the scene that the scene of another video replaces.
        donor: float32 (N, 2) in [0, 1), which video of the batch gives its scene, and which of its clips
            (:func:`bodvcl.data.clips.donors.donors`).
    """

    colour: Tensor
    flip: Tensor
    sigma: Tensor
    share: Tensor
    donor: Tensor

    def to(self, device: torch.device | str, non_blocking: bool = False) -> ClipParams:
        """The same parameters on another device."""
        return ClipParams(
            *(getattr(self, f.name).to(device, non_blocking=non_blocking) for f in fields(self))
        )


@dataclass(frozen=True)
class ClipBatch:
    """Clips of some videos; the clips of one video are neighbours: row v * views + k is clip k of video v.

    Attributes:
        clips: uint8 (videos * views, L, S, S, 3); on the CPU, or where the decoder left them.
        params: one row per clip.
        videos: int64 (videos,), positions of the videos in the list of all training videos.
        frames: int64 (videos * views, L), frame numbers of the clips.
        epoch, step: position of the batch in the training, from 0.
        failures: (path, reason) of the videos that are not in the batch because they could not be read.
            Others take their places.
    """

    clips: Tensor
    params: ClipParams
    videos: Tensor
    frames: Tensor
    epoch: int = 0
    step: int = 0
    failures: tuple[tuple[str, str], ...] = ()
