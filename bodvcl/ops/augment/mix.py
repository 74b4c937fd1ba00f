"""Scenes exchanged between clips: the mean of a clip's frames is what stands still, and is replaced.

Both clips of a video share its scene, and no other video has it, so that a contrastive loss needs nothing
else to tell the videos apart. Here every clip gets, in part, the scene of another one; its motion is kept.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from bodvcl.ops.augment.backend import MixRequest, choose_mix
from bodvcl.ops.checks import check_device

Backend = Literal["auto", "triton", "torch", "reference"]


class MixParams(NamedTuple):
    """What is done to each of N clips.

    Attributes:
        donor: ``(N,)`` int64 in 0 .. N - 1, the clip that gives a still frame.
        frame: ``(N,)`` int64 in 0 .. L - 1, which of its frames.
        share: ``(N,)``, floating point: how much of the scene is replaced, 0 nothing, 1 all of it.
        gain: ``(N, 3)``, floating point: factor of the motion in each colour, 1 for no change.
    """

    donor: Tensor
    frame: Tensor
    share: Tensor
    gain: Tensor


def mix_scenes(
    clips: Tensor, params: MixParams, *, inplace: bool = False, backend: Backend = "auto"
) -> Tensor:
    r"""Replace a share a of each clip's scene by a still frame s of another clip, and scale its motion by g:

    .. math:: y_t = m + a\,(s - m) + g\,(x_t - m), \qquad m = \frac{1}{L} \sum_t x_t

    Adding a still frame is the augmentation of Wang et al., "Removing the Background by Adding the
    Background" (CVPR 2021), there as ``(1 - a) x + a s``. Here a share of 1 leaves nothing of a scene that
    stands still, and all of the motion. Nothing is clamped.

    Args:
        clips: ``(N, 3, L, S, S)`` float32, float16, bfloat16 or float64, channels_last_3d or contiguous: N
            clips of L frames, as `augment_clips` returns them.
        params: what is done to each clip, on the same device. Donors and frames that do not exist raise
            IndexError on a CPU; on a GPU they are not checked, since that would wait for the device.
        inplace: write into ``clips``.
        backend: "auto"; "triton" (one kernel, on a GPU); "torch"; "reference" (clip by clip).

    Returns:
        ``(N, 3, L, S, S)`` in the dtype and memory format of the clips.

    Raises:
        TypeError: clips that are not floating point; donors or frames that are not int64.
        ValueError: shapes or devices that do not fit; an unknown backend; a derivative is asked for.
        bodvcl.ops.BackendError: the backend was named and cannot serve the call.
    """
    _check(clips, params)
    route = choose_mix(backend, MixRequest(clips.device.type, clips.dtype))
    if route == "reference":
        from bodvcl.reference.augment import mix_scenes as reference

        mixed = reference(clips, *params).to(clips.dtype)
        return clips.copy_(mixed) if inplace else torch.empty_like(clips).copy_(mixed)
    still = clips[params.donor, :, params.frame]
    out = clips if inplace else torch.empty_like(clips)
    if route == "triton":
        from bodvcl.kernels.mix import mix

        return mix(clips, still, params.share, params.gain, out)
    wide = torch.promote_types(clips.dtype, torch.float32)
    share = params.share.to(wide)[:, None, None, None]
    gain = params.gain.to(wide)[:, :, None, None]
    base = clips.mean(2, dtype=wide).mul_(1 - share - gain).add_(share * still)[:, :, None]
    if clips.dtype == wide:
        return torch.addcmul(base, clips, gain[:, :, None], out=out)
    return out.copy_(torch.addcmul(base, clips.to(wide), gain[:, :, None]))


def _check(clips: Tensor, params: MixParams) -> None:
    op = "mix_scenes"
    if not clips.is_floating_point():
        raise TypeError(f"{op}: clips is {clips.dtype}; expected a floating-point type")
    if clips.dim() != 5 or clips.shape[1] != 3 or not clips.shape[2]:
        raise ValueError(f"{op}: clips is {tuple(clips.shape)}; expected (N, 3, L, S, S) with L of 1 or more")
    count = len(clips)
    for name, shape in (("donor", (count,)), ("frame", (count,)), ("share", (count,)), ("gain", (count, 3))):
        values: Tensor = getattr(params, name)
        if tuple(values.shape) != shape:
            raise ValueError(f"{op}: {name} is {tuple(values.shape)}; expected {shape} for {count} clips")
        check_device(op, name, values, "clips", clips)
        whole = name in ("donor", "frame")
        if whole and values.dtype != torch.int64:
            raise TypeError(f"{op}: {name} is {values.dtype}; expected torch.int64")
        if not whole and not values.is_floating_point():
            raise TypeError(f"{op}: {name} is {values.dtype}; expected a floating-point type")
        if values.requires_grad and torch.is_grad_enabled():
            raise ValueError(f"{op}: {name} requires a gradient, and there is none: detach it")
    if clips.requires_grad and torch.is_grad_enabled():
        raise ValueError(f"{op}: clips requires a gradient, and there is none: detach it")
