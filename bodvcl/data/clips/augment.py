"""Augmentation in two halves: crop and resize where a clip is decoded, the rest for the whole batch.

Clips travel to the model's device as bytes and already cropped, which is a third or less of what whole frames
would take. There, :func:`bodvcl.ops.augment.augment_clips` does the rest in one call.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from bodvcl.config.schema import AugmentConfig
from bodvcl.data.clips.batch import ClipBatch
from bodvcl.data.clips.boxes import box_in_pixels
from bodvcl.data.clips.donors import donors
from bodvcl.ops.augment import (
    AugmentParams,
    MixParams,
    augment_clips,
    blur_radius,
    mix_scenes,
    resize_box,
)


def crop_resize(frames: np.ndarray | Tensor, box: np.ndarray, size: int) -> Tensor:
    """Cut the same box out of all frames of a clip, and resize it with antialiasing.

    Args:
        frames: uint8 (L, H, W, 3).
        box: (4,) top, left, height, width as shares of the frame.
        size: height and width of the result in pixels.

    Returns:
        uint8 (L, size, size, 3), contiguous.
    """
    cut = box_in_pixels(box, *frames.shape[1:3])
    return resize_box(torch.as_tensor(frames), cut, size).contiguous()


def finish(
    batch: ClipBatch,
    augment: AugmentConfig,
    device: torch.device | str = "cpu",
    memory_format: torch.memory_format = torch.channels_last_3d,
    *,
    dtype: torch.dtype = torch.float32,
    fast: bool = True,
) -> Tensor:
    """Move a batch to the device of the model; flip, colour, blur, normalise and mix it there.

    Args:
        batch: N clips as uint8 (N, L, S, S, 3), and their drawn parameters.
        augment: mean, std and the widest blur; whether a clip is flipped, blurred or mixed was drawn before.
        device: device of the result.
        memory_format: memory format of the result; channels_last_3d costs no copy.
        dtype: type of the result. The arithmetic is float32 all the same, and is rounded once, at the end.
        fast: True: one fused kernel on a GPU, vectorised operations on a CPU. False: the reference, frame
            by frame.

    Returns:
        (N, 3, L, S, S) of ``dtype``, (rgb - mean) / std with RGB in [0, 1], and beyond that range where
        scenes are mixed.
    """
    params = batch.params.to(device, non_blocking=True)
    backend: Literal["auto", "reference"] = "auto" if fast else "reference"
    videos = len(batch.videos)
    mixed = videos > 1 and bool(batch.params.share.any())  # there is another video, and it is asked for
    clips = augment_clips(
        batch.clips.to(device, non_blocking=True),
        AugmentParams(params.colour, params.flip, params.sigma),
        batch.clips.shape[2],
        augment.mean,
        augment.std,
        torch.promote_types(dtype, torch.float32) if mixed else dtype,
        memory_format,
        radius=blur_radius(augment.blur_sigma[1]) if augment.blur > 0 else 0,
        backend=backend,
    )
    if not mixed:
        return clips
    rows = donors(batch.params.donor, videos).to(device, non_blocking=True)
    mix = MixParams(rows, params.share)
    return mix_scenes(clips, mix, dtype=dtype, inplace=dtype == clips.dtype, backend=backend)
