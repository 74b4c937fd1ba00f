"""What an augmentation does to each clip, and what is said when a call does not fit."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor


class AugmentParams(NamedTuple):
    """What is done to each of N clips; all frames of a clip share it.

    colour: floating point (N, 3, 4), affine map of RGB in [0, 1]: ``colour[:, :3] @ rgb + colour[:, 3]``.
    flip: bool (N,), mirror left and right.
    sigma: floating point (N,), standard deviation of the blur in output pixels; 0 for none.
    box: integer (N, 4), the top, left, height and width in pixels of what is cut out of the input and
        resized; nothing outside of it is read. None: the input has the output's size and is not resized.
    """

    colour: Tensor
    flip: Tensor
    sigma: Tensor
    box: Tensor | None = None


def blur_radius(widest: float) -> int:
    """Pixels on each side that the blur's window covers: three of the widest standard deviation."""
    return math.ceil(3 * widest)


def check(
    clips: Tensor, params: AugmentParams, size: int, std: float, dtype: torch.dtype, radius: int
) -> None:
    """Raise ValueError or TypeError for a call of `bodvcl.ops.augment.augment_clips` that does not fit."""
    op = "augment_clips"
    if clips.dtype != torch.uint8:
        raise TypeError(f"{op}: clips must be uint8, got {clips.dtype}")
    if clips.dim() != 5 or clips.shape[-1] != 3:
        raise ValueError(f"{op}: expected clips (N, L, h, w, 3), got {tuple(clips.shape)}")
    if not dtype.is_floating_point:
        raise TypeError(f"{op}: dtype must be a floating-point type, got {dtype}")
    if size < 1 or radius < 0 or std <= 0:
        raise ValueError(
            f"{op}: expected size >= 1, radius >= 0 and std > 0, got {size}, {radius} and {std:g}"
        )
    count = len(clips)
    for name, values, shape in (
        ("colour", params.colour, (count, 3, 4)),
        ("flip", params.flip, (count,)),
        ("sigma", params.sigma, (count,)),
        ("box", params.box, (count, 4)),
    ):
        if values is None:
            continue
        if tuple(values.shape) != shape:
            raise ValueError(f"{op}: {name} must be {shape} for {count} clips, got {tuple(values.shape)}")
        if values.device != clips.device:
            raise ValueError(f"{op}: {name} is on {values.device}, clips on {clips.device}: move one of them")
    if params.flip.dtype != torch.bool:
        raise TypeError(f"{op}: flip must be bool, got {params.flip.dtype}")
    if params.box is None and tuple(clips.shape[2:4]) != (size, size):
        raise ValueError(
            f"{op}: clips of {clips.shape[2]} x {clips.shape[3]} pixels need a box to become {size} x {size}"
        )
    if params.box is not None and (params.box.is_floating_point() or params.box.dtype == torch.bool):
        raise TypeError(f"{op}: box must be integers, got {params.box.dtype}")
