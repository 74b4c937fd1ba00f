"""Scenes exchanged between clips: the median of a clip's frames is its scene, and is replaced.

Both clips of a video share its scene, and no other video has it, so that a contrastive loss needs nothing
else to tell the videos apart. Here every clip gets, in part, the scene of another one; what moves is kept.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from bodvcl.ops.augment.backend import MixRequest, choose_mix
from bodvcl.ops.augment.median import median_over_time
from bodvcl.ops.checks import check_device

Backend = Literal["auto", "triton", "torch", "reference"]


class MixParams(NamedTuple):
    """What is done to each of N clips.

    Attributes:
        donor: ``(N,)`` int64 in 0 .. N - 1, the clip that gives its scene.
        share: ``(N,)``, floating point: how much of the scene is replaced, 0 nothing, 1 all of it.
    """

    donor: Tensor
    share: Tensor


def mix_scenes(
    clips: Tensor,
    params: MixParams,
    *,
    dtype: torch.dtype | None = None,
    inplace: bool = False,
    backend: Backend = "auto",
) -> Tensor:
    r"""Replace a share a of each clip's scene m by the scene of another clip:

    .. math:: y_t = x_t + a\,(m_{donor} - m), \qquad m = \mathrm{median}_t\, x_t

    The median over time of every pixel and colour, the lower one of two, is the scene: it keeps nothing of
    what passes a pixel in fewer than half of the frames. The mean would keep its trail. So a share of 1
    leaves nothing of a scene that stands still and all of what moves before it, and clips whose scenes are
    equal are not changed by any share. Nothing is clamped.

    Adding a still frame of another video, ``(1 - a) x + a s``, is the augmentation of Wang et al.,
    "Removing the Background by Adding the Background" (CVPR 2021).

    Args:
        clips: ``(N, 3, L, S, S)`` float32, float16, bfloat16 or float64, channels_last_3d or contiguous: N
            clips of L frames, as `augment_clips` returns them.
        params: what is done to each clip, on the same device. A donor that does not exist raises IndexError
            on a CPU; on a GPU the device stops with an assertion.
        dtype: dtype of the result, float32, float16, bfloat16 or float64. The sum is rounded to it once, at
            the end. None: that of the clips.
        inplace: write into ``clips``, which have the dtype of the result.
        backend: "auto"; "triton" (two kernels, on a GPU); "torch"; "reference" (clip by clip).

    Returns:
        ``(N, 3, L, S, S)`` in ``dtype`` and in the memory format of the clips.

    Raises:
        TypeError: clips or shares that are not floating point; donors that are not int64; a ``dtype`` that is
            not floating point.
        ValueError: shapes or devices that do not fit; an unknown backend; a derivative is asked for;
            ``inplace`` with another dtype than that of the clips.
        bodvcl.ops.BackendError: the backend was named and cannot serve the call.
    """
    _check(clips, params)
    dtype = clips.dtype if dtype is None else dtype
    _check_result(clips, dtype, inplace)
    route = choose_mix(backend, MixRequest(clips.device.type, clips.dtype, dtype))
    out = clips if inplace else torch.empty_like(clips, dtype=dtype)
    if route == "reference":
        from bodvcl.reference.augment import mix_scenes as reference

        return out.copy_(reference(clips, *params))
    if route == "triton":
        from bodvcl.kernels.mix import add_still, median

        return add_still(clips, _change(median(clips), params), out)
    change = _change(median_over_time(clips), params)[:, :, None]
    if clips.dtype == change.dtype == out.dtype:
        return torch.add(clips, change, out=out)
    return out.copy_(clips + change)


def _change(scene: Tensor, params: MixParams) -> Tensor:
    """``(N, 3, S, S)``, what is added to every frame, float32 or wider."""
    wide = scene.to(torch.promote_types(scene.dtype, torch.float32))
    return params.share.to(wide.dtype)[:, None, None, None] * (wide[params.donor] - wide)


def _check_result(clips: Tensor, dtype: torch.dtype, inplace: bool) -> None:
    if not dtype.is_floating_point:
        raise TypeError(f"mix_scenes: dtype is {dtype}; expected a floating-point type")
    if inplace and dtype != clips.dtype:
        raise ValueError(
            f"mix_scenes: dtype is {dtype}; expected {clips.dtype}, that of the clips, with inplace"
        )


def _check(clips: Tensor, params: MixParams) -> None:
    op = "mix_scenes"
    if not clips.is_floating_point():
        raise TypeError(f"{op}: clips is {clips.dtype}; expected a floating-point type")
    if clips.dim() != 5 or clips.shape[1] != 3 or not clips.shape[2]:
        raise ValueError(f"{op}: clips is {tuple(clips.shape)}; expected (N, 3, L, S, S) with L of 1 or more")
    count = len(clips)
    for name in ("donor", "share"):
        values: Tensor = getattr(params, name)
        if tuple(values.shape) != (count,):
            raise ValueError(f"{op}: {name} is {tuple(values.shape)}; expected {(count,)} for {count} clips")
        check_device(op, name, values, "clips", clips)
    if params.donor.dtype != torch.int64:
        raise TypeError(f"{op}: donor is {params.donor.dtype}; expected torch.int64")
    if not params.share.is_floating_point():
        raise TypeError(f"{op}: share is {params.share.dtype}; expected a floating-point type")
    for name, values in (("clips", clips), ("share", params.share)):
        if values.requires_grad and torch.is_grad_enabled():
            raise ValueError(f"{op}: {name} requires a gradient, and there is none: detach it")
