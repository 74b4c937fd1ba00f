"""What an augmentation does to each clip, and the checks of a call."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from bodvcl.ops.checks import check_device


class AugmentParams(NamedTuple):
    """What is done to each of N clips; all frames of a clip share it.

    Attributes:
        colour: ``(N, 3, 4)``, floating point: affine map of RGB in [0, 1],
            ``colour[:, :3] @ rgb + colour[:, 3]``.
        flip: ``(N,)`` bool: mirror left and right.
        sigma: ``(N,)``, floating point: standard deviation of the blur in output pixels; 0: no blur.
        box: ``(N, 4)``, integers: top, left, height and width in pixels of the part of the input that is
            resized; nothing outside of it is read. None: the input has the output's size and is not resized.
    """

    colour: Tensor
    flip: Tensor
    sigma: Tensor
    box: Tensor | None = None


def blur_radius(widest: float) -> int:
    """Radius in pixels of the blur's window for ``widest``, the largest standard deviation: three of it."""
    return math.ceil(3 * widest)


def check(
    clips: Tensor, params: AugmentParams, size: int, std: float, dtype: torch.dtype, radius: int
) -> None:
    """Raise ValueError or TypeError for a call of `bodvcl.ops.augment.augment_clips` that does not fit."""
    op = "augment_clips"
    if clips.dtype != torch.uint8:
        raise TypeError(f"{op}: clips is {clips.dtype}; expected torch.uint8")
    if clips.dim() != 5 or clips.shape[-1] != 3:
        raise ValueError(f"{op}: clips is {tuple(clips.shape)}; expected (N, L, h, w, 3)")
    if not dtype.is_floating_point:
        raise TypeError(f"{op}: dtype is {dtype}; expected a floating-point type")
    if size < 1:
        raise ValueError(f"{op}: size is {size}; expected at least 1 pixel")
    if radius < 0:
        raise ValueError(f"{op}: radius is {radius}; expected 0 (no blur) or a number of pixels")
    if std <= 0:
        raise ValueError(f"{op}: std is {std:g}; expected a positive number")
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
            raise ValueError(f"{op}: {name} is {tuple(values.shape)}; expected {shape} for {count} clips")
        check_device(op, name, values, "clips", clips)
    if params.flip.dtype != torch.bool:
        raise TypeError(f"{op}: flip is {params.flip.dtype}; expected torch.bool")
    if params.box is None and tuple(clips.shape[2:4]) != (size, size):
        raise ValueError(
            f"{op}: box is None; expected a box for each clip, to make {size} x {size} pixels of "
            f"{clips.shape[2]} x {clips.shape[3]}"
        )
    if params.box is not None and (params.box.is_floating_point() or params.box.dtype == torch.bool):
        raise TypeError(f"{op}: box is {params.box.dtype}; expected integers")
