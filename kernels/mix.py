"""Scenes exchanged between clips, in one kernel: see `bodvcl.ops.augment.mix`."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK = 1024
"""Numbers of one frame that a program holds: four for each of 256 threads."""


@triton.jit
def mix_kernel(
    CLIPS, STILL, SHARE, GAIN, OUT, LENGTH, PIXELS,
    clip_stride, c_stride, frame_stride, p_stride, still_stride, still_c_stride, still_p_stride,
    out_clip_stride, out_c_stride, out_frame_stride, out_p_stride,
    CHANNELS_LAST: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Program (part of a frame of a clip): the mean over its frames, then every frame.

    Neighbouring numbers are neighbours in memory: colours first for CHANNELS_LAST, else pixels first.
    """
    parts = tl.cdiv(3 * PIXELS, BLOCK)
    pid = tl.program_id(0)
    clip = (pid // parts).to(tl.int64)
    e = pid % parts * BLOCK + tl.arange(0, BLOCK)
    mask = e < 3 * PIXELS
    if CHANNELS_LAST:
        c, p = e % 3, e // 3
    else:
        c, p = e // PIXELS, e % PIXELS
    source = CLIPS + clip * clip_stride + c.to(tl.int64) * c_stride + p.to(tl.int64) * p_stride
    target = OUT + clip * out_clip_stride + c.to(tl.int64) * out_c_stride + p.to(tl.int64) * out_p_stride
    total = tl.zeros([BLOCK], tl.float32)
    at = source
    for _ in range(LENGTH):
        total += tl.load(at, mask=mask, other=0).to(tl.float32)
        at += frame_stride
    at = STILL + clip * still_stride + c.to(tl.int64) * still_c_stride + p.to(tl.int64) * still_p_stride
    still = tl.load(at, mask=mask, other=0).to(tl.float32)
    share = tl.load(SHARE + clip)
    gain = tl.load(GAIN + clip * 3 + c, mask=mask, other=0)
    base = (1 - share - gain) * (total / LENGTH) + share * still
    for _ in range(LENGTH):
        x = tl.load(source, mask=mask, other=0).to(tl.float32)
        y = base + gain * x
        tl.store(target, y.to(OUT.dtype.element_ty), mask=mask)
        source += frame_stride
        target += out_frame_stride


def mix(clips: Tensor, still: Tensor, share: Tensor, gain: Tensor, out: Tensor) -> Tensor:
    """Mixed clips, in ``out``, which may be ``clips``.

    Args:
        clips: (N, 3, L, S, S), channels_last_3d or contiguous.
        still: (N, 3, S, S), a still frame for each clip.
        share: (N,).
        gain: (N, 3).
        out: like clips.
    """
    count, _, length, height, width = clips.shape
    pixels = height * width
    if not out.numel():
        return out
    last = clips.stride(1) == 1

    def strides(x: Tensor) -> tuple[int, ...]:
        return (*x.stride()[:-2], x.stride(-1))

    if still.stride(-2) != width * still.stride(-1):
        still = still.contiguous()
    with torch.cuda.device(clips.device if clips.device.type == "cuda" else -1):
        mix_kernel[(count * triton.cdiv(3 * pixels, BLOCK),)](
            clips, still, share.to(torch.float32).contiguous(), gain.to(torch.float32).contiguous(), out,
            length, pixels, *strides(clips), *strides(still), *strides(out),
            CHANNELS_LAST=last, BLOCK=BLOCK, num_warps=8,
        )  # fmt: skip
    return out
