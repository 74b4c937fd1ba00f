"""Frames that another program decoded, as clips for a network."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from bodvcl.data.clips.augment import crop_resize
from bodvcl.data.clips.boxes import centred_square


def clips_from_frames(
    frames: Tensor | np.ndarray, count: int, size: int, mean: float, std: float, like: Tensor
) -> Tensor:
    """Cut out the largest centred square, resize it with antialiasing and normalise it.

    Args:
        frames: uint8 RGB, ``(L, height, width, 3)`` for one clip or ``(N, L, height, width, 3)`` for N.
        count: L, the frames of a clip.
        size: height and width of the result in pixels.
        mean, std: normalisation of every channel, ``(rgb - mean) / std`` with RGB in [0, 1].
        like: the result has its dtype and device.

    Returns:
        ``(N, 3, L, size, size)`` float.

    Raises:
        TypeError: frames are not uint8.
        ValueError: another shape, or not as many frames as a clip has.
    """
    pixels = torch.as_tensor(frames)
    if pixels.dtype != torch.uint8:
        raise TypeError(f"prepare: frames: expected uint8, RGB from 0 to 255, got {pixels.dtype}")
    shape = tuple(pixels.shape)
    if pixels.dim() not in (4, 5) or shape[-1] != 3 or 0 in shape:
        raise ValueError(
            "prepare: frames: expected (L, height, width, 3) or (N, L, height, width, 3), RGB last, "
            f"got {shape}"
        )
    if shape[-4] != count:
        raise ValueError(
            f"prepare: frames: expected {count} frames, as in the clips that the encoder was "
            f"trained on, got {shape[-4]}: take `video[::clip.stride][:clip.frames]`"
        )
    clips = pixels if pixels.dim() == 5 else pixels[None]
    box = centred_square(*clips.shape[2:4])
    bytes_ = torch.stack([crop_resize(clip, box, size) for clip in clips])
    rgb = bytes_.to(like.device).to(like.dtype).permute(0, 4, 1, 2, 3) / 255
    return (rgb - mean) / std
