"""Clips of bytes to clips that a network takes: crop, resize, flip, colour, blur and normalise in one call.

One set of parameters per clip serves all of its frames. The order, the equations and where they differ from
the operations of torchvision are in ``docs/augment.md``.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from bodvcl.ops.augment.backend import AugmentRequest, choose_augment
from bodvcl.ops.augment.eager import augment as torch_route
from bodvcl.ops.augment.params import AugmentParams, blur_radius, check
from bodvcl.ops.transforms import VmapInfo, active

Backend = Literal["auto", "triton", "torch", "reference"]

NO_DERIVATIVE = "augment_clips has no derivative. Detach its parameters"


class _Constant(torch.autograd.Function):
    """Raises where a transform of ``torch.func`` or forward mode would differentiate or map the call."""

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        pass

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor) -> None:
        raise RuntimeError(NO_DERIVATIVE)

    @staticmethod
    def vmap(info: VmapInfo, in_dims: tuple[int | None, ...], x: Tensor) -> None:
        raise RuntimeError("augment_clips takes a whole batch of clips. Call it without torch.func.vmap")


def _refuse_derivatives(clips: Tensor, params: AugmentParams) -> None:
    for x in (clips, *params):
        if x is not None and x.requires_grad and torch.is_grad_enabled():
            raise RuntimeError(NO_DERIVATIVE)
        if x is not None and active():
            _Constant.apply(x)


def augment_clips(
    clips: Tensor,
    params: AugmentParams,
    size: int,
    mean: float,
    std: float,
    dtype: torch.dtype = torch.float32,
    memory_format: torch.memory_format = torch.channels_last_3d,
    *,
    radius: int | None = None,
    backend: Backend = "auto",
) -> Tensor:
    r"""Augment N clips, each with its own parameters, which all frames of the clip share:

    .. math:: y = \frac{g_\sigma * \mathrm{clamp}(A\, x / 255 + b, 0, 1) - \mathrm{mean}}{\mathrm{std}}

    where x is the resized and perhaps mirrored box, (A | b) the clip's ``colour``, and g the Gaussian of
    standard deviation sigma on a square window. The image is mirrored at its borders, which are not repeated.

    A box must lie inside its frame; on a GPU this is not checked, since that would wait for the device.

    Args:
        clips: ``(N, L, h, w, 3)`` uint8, RGB: N clips of L frames. The frames of a clip may be smaller than
            h x w: only the box is read.
        params: what is done to each clip, on the same device.
        size: S, height and width of the result in pixels.
        mean: subtracted from every channel, whose values lie in [0, 1].
        std: divides every channel after that, > 0.
        dtype: dtype of the result: float32, bfloat16 or float16. Arithmetic is float32 (float64 in the
            reference).
        memory_format: memory format of the result: channels_last_3d or contiguous_format.
        radius: the blur's window is ``2 radius + 1`` pixels wide, at most ``2 size - 1``; 0: no blur. None:
            `blur_radius` of the largest sigma in the call, which on a GPU waits for the device.
        backend: "auto"; "triton" (one kernel, on a GPU); "torch" (any device; on a GPU it waits for the
            device; a box is resized in bytes, which is off by at most one of 255 levels before the colours);
            "reference" (frame by frame).

    Returns:
        ``(N, 3, L, S, S)`` of ``dtype``. There is no derivative, in either mode, and no vmap: asking for one
        raises RuntimeError.

    Raises:
        RuntimeError: a parameter requires a gradient or carries a tangent, or the call is mapped.
        TypeError: clips, flip or box of another dtype; ``dtype`` is not a floating-point type.
        ValueError: shapes or devices that do not fit; clips of another size without a box; an unknown
            backend.
        bodvcl.ops.BackendError: the backend was named and cannot serve the call.
    """
    _refuse_derivatives(clips, params)
    if radius is None:
        radius = blur_radius(float(params.sigma.max())) if len(clips) else 0
    check(clips, params, size, std, dtype, radius)
    request = AugmentRequest(clips.device.type, dtype, min(radius, size - 1))
    route = choose_augment(backend, request)
    if route == "triton":
        from bodvcl.kernels.augment import augment

        return augment(clips, params, size, mean, std, dtype, radius, memory_format)
    if route == "reference":
        from bodvcl.reference.augment import augment_clips as reference

        out = reference(clips, *params, size=size, mean=mean, std=std, radius=radius).transpose(1, 2)
        return out.to(dtype).contiguous(memory_format=memory_format)
    out = torch_route(clips, params, size, mean, std, dtype, radius)
    return out.permute(0, 4, 1, 2, 3).contiguous(memory_format=memory_format)
