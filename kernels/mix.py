"""Scenes exchanged between clips, in two kernels: see `bodvcl.ops.augment.mix`."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK = 512
"""Numbers of one frame that a program holds: four for each of 128 threads."""


@triton.jit
def _numbers(PIXELS, CHANNELS_LAST: tl.constexpr, BLOCK: tl.constexpr):
    """Clip, colours, pixels and mask of a program's part of a frame. Neighbouring numbers are neighbours in
    memory: colours first for CHANNELS_LAST, else pixels first."""
    parts = tl.cdiv(3 * PIXELS, BLOCK)
    pid = tl.program_id(0)
    e = pid % parts * BLOCK + tl.arange(0, BLOCK)
    if CHANNELS_LAST:
        c, p = e % 3, e // 3
    else:
        c, p = e // PIXELS, e % PIXELS
    return (pid // parts).to(tl.int64), c, p, e < 3 * PIXELS


@triton.jit
def _at(BASE, clip, c, p, clip_stride, c_stride, p_stride):
    """Pointers to the numbers of a program in the first frame of their clip."""
    return BASE + clip * clip_stride + c.to(tl.int64) * c_stride + p.to(tl.int64) * p_stride


@triton.jit
def median_kernel(
    CLIPS, SCENE, LENGTH, PIXELS, clip_stride, c_stride, frame_stride, p_stride,
    out_clip_stride, out_c_stride, out_p_stride, CHANNELS_LAST: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """The median over time, the lower one of two: the number that (LENGTH - 1) // 2 others go before.

    Every number is compared with all LENGTH of its pixel, which are read from the cache.
    """
    clip, c, p, mask = _numbers(PIXELS, CHANNELS_LAST, BLOCK)
    source = _at(CLIPS, clip, c, p, clip_stride, c_stride, p_stride)
    median = tl.load(source, mask=mask, other=0).to(tl.float32)
    at = source
    for t in range(LENGTH):
        x = tl.load(at, mask=mask, other=0).to(tl.float32)
        before = tl.zeros([BLOCK], tl.int32)
        other = source
        for s in range(LENGTH):
            y = tl.load(other, mask=mask, other=0).to(tl.float32)
            before += ((y < x) | ((y == x) & (s < t))).to(tl.int32)
            other += frame_stride
        median = tl.where(before == (LENGTH - 1) // 2, x, median)
        at += frame_stride
    target = _at(SCENE, clip, c, p, out_clip_stride, out_c_stride, out_p_stride)
    tl.store(target, median.to(SCENE.dtype.element_ty), mask=mask)


@triton.jit
def mix_kernel(
    CLIPS, STILL, OUT, LENGTH, PIXELS,
    clip_stride, c_stride, frame_stride, p_stride, still_clip_stride, still_c_stride, still_p_stride,
    out_clip_stride, out_c_stride, out_frame_stride, out_p_stride,
    CHANNELS_LAST: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Every frame plus a still one."""
    clip, c, p, mask = _numbers(PIXELS, CHANNELS_LAST, BLOCK)
    source = _at(CLIPS, clip, c, p, clip_stride, c_stride, p_stride)
    target = _at(OUT, clip, c, p, out_clip_stride, out_c_stride, out_p_stride)
    still = _at(STILL, clip, c, p, still_clip_stride, still_c_stride, still_p_stride)
    added = tl.load(still, mask=mask, other=0)
    for _ in range(LENGTH):
        x = tl.load(source, mask=mask, other=0).to(tl.float32)
        tl.store(target, (x + added).to(OUT.dtype.element_ty), mask=mask)
        source += frame_stride
        target += out_frame_stride


def median(clips: Tensor) -> Tensor:
    """(N, 3, S, S), the median over time of clips (N, 3, L, S, S), channels_last_3d or contiguous."""
    count, colours, length, height, width = clips.shape
    last = _channels_last(clips)
    layout = torch.channels_last if last else torch.contiguous_format
    scene = torch.empty((count, colours, height, width), dtype=clips.dtype, device=clips.device)
    scene = scene.contiguous(memory_format=layout)
    if clips.numel():
        with _device_of(clips):
            median_kernel[_programs(clips)](
                clips, scene, length, height * width, *_strides(clips), *_strides(scene),
                CHANNELS_LAST=last, BLOCK=BLOCK, num_warps=4,
            )  # fmt: skip
    return scene


def add_still(clips: Tensor, still: Tensor, out: Tensor) -> Tensor:
    """``clips + still``, in ``out``, which may be ``clips``.

    Args:
        clips: (N, 3, L, S, S), channels_last_3d or contiguous.
        still: float32 (N, 3, S, S), a still frame for each clip.
        out: like clips, of any dtype; the sum is rounded to it.
    """
    length, height, width = clips.shape[2:]
    if out.numel():
        last = _channels_last(clips)
        still = still.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)
        with _device_of(clips):
            mix_kernel[_programs(clips)](
                clips, still, out, length, height * width,
                *_strides(clips), *_strides(still), *_strides(out),
                CHANNELS_LAST=last, BLOCK=BLOCK, num_warps=4,
            )  # fmt: skip
    return out


def _channels_last(clips: Tensor) -> bool:
    return clips.stride(1) == 1


def _strides(x: Tensor) -> tuple[int, ...]:
    """Strides of everything but the rows: the pixels of a frame lie one after the other."""
    return (*x.stride()[:-2], x.stride(-1))


def _programs(clips: Tensor) -> tuple[int]:
    return (clips.shape[0] * triton.cdiv(3 * clips.shape[3] * clips.shape[4], BLOCK),)


def _device_of(clips: Tensor) -> torch.cuda.device:
    return torch.cuda.device(clips.device if clips.device.type == "cuda" else -1)
