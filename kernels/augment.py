"""Fused clip augmentation: bytes are read once, the finished clip is written once.

A program makes one tile of one output frame, some rows of pixels at a time, with the margin that the blur
needs. It reads the pixels through the triangle filter of an antialiased resize and applies the clip's affine
map of colours. A product with a banded matrix blurs along the height, a product with a second one along the
width. No intermediate image is written: the pixels of a margin are computed again by each tile that needs
them. Mirrored borders and the flip are index arithmetic.

All arithmetic is float32. The products of the blur are TF32 for 16-bit results, and three TF32 products
otherwise.
"""

from __future__ import annotations

import os
from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from bodvcl.ops.augment.params import AugmentParams

INTERPRET = os.environ.get("TRITON_INTERPRET") == "1"


class Tiles(NamedTuple):
    """How the kernel divides its work.

    Attributes:
        rows: output rows of a tile.
        columns: columns of a tile, with the margin that the blur needs.
        step: rows taken at a time.
        warps: warps per program.
    """

    rows: int
    columns: int
    step: int
    warps: int


def tiles(radius: int, dtype: torch.dtype) -> Tiles:
    """The tiling for a blur of ``radius`` pixels (0: no blur) and results of ``dtype``.

    No tiling spills registers in a loop.
    """
    if radius == 0:
        return Tiles(16, 64, 16, 4)
    return Tiles(32 if dtype == torch.float32 else 64, 64, 16, 8)


def constants(radius: int, dtype: torch.dtype) -> dict[str, int | str]:
    """The compile-time arguments of the kernel for a blur of ``radius`` pixels and results of ``dtype``."""
    rows, columns, step, _ = tiles(radius, dtype)
    return {
        "RADIUS": radius,
        "TAPS": triton.next_power_of_2(2 * radius + 1),
        "ROWS": rows,
        "COLUMNS": columns,
        "STEP": step,
        "PRECISION": precision(dtype),
    }


def precision(dtype: torch.dtype) -> str:
    """How the blur's products are formed for results of ``dtype``."""
    if INTERPRET:
        return "ieee"
    return "tf32x3" if dtype == torch.float32 else "tf32"


@triton.jit
def _mirrored(x, SIZE):
    """Indices reflected at 0 and SIZE - 1; those out of reach of one reflection are moved to the border."""
    x = tl.abs(x)
    x = tl.where(x > SIZE - 1, 2 * (SIZE - 1) - x, x)
    return tl.minimum(tl.maximum(x, 0), SIZE - 1)


@triton.jit
def _taps(out, length, SIZE):
    """The triangle filter at output positions: centre, half width, first and last + 1 input position."""
    scale = length.to(tl.float32) / SIZE
    support = tl.maximum(scale, 1.0)
    centre = (out.to(tl.float32) + 0.5) * scale
    first = tl.maximum((centre - support + 0.5).to(tl.int32), 0)
    last = tl.minimum((centre + support + 0.5).to(tl.int32), length)
    return centre, support, first, last


@triton.jit
def _weight(position, centre, support, last):
    """Weight of input positions, 0 from ``last`` on."""
    distance = tl.abs((position.to(tl.float32) + 0.5 - centre) / support)
    return tl.where(position < last, tl.maximum(1.0 - distance, 0.0), 0.0)


@triton.jit
def _pixel(ptr, mask):
    """Red, green and blue at some places, as float32."""
    red = tl.load(ptr, mask=mask, other=0).to(tl.float32)
    green = tl.load(ptr + 1, mask=mask, other=0).to(tl.float32)
    blue = tl.load(ptr + 2, mask=mask, other=0).to(tl.float32)
    return red, green, blue


@triton.jit
def _resampled(
    frame, box, y, x, y_stride, x_stride, SIZE, needed, ROWS: tl.constexpr, COLUMNS: tl.constexpr
):  # fmt: skip
    """The resized box at output rows ``y`` and columns ``x``, where ``needed``."""
    top, left = tl.load(box), tl.load(box + 1)
    y_centre, y_support, y_first, y_last = _taps(y, tl.load(box + 2), SIZE)
    x_centre, x_support, x_first, x_last = _taps(x, tl.load(box + 3), SIZE)
    red = tl.zeros([ROWS, COLUMNS], tl.float32)
    green = tl.zeros([ROWS, COLUMNS], tl.float32)
    blue = tl.zeros([ROWS, COLUMNS], tl.float32)
    y_total = tl.zeros([ROWS], tl.float32)
    x_total = tl.zeros([COLUMNS], tl.float32)
    x_count = tl.max(x_last - x_first, 0)
    for i in range(x_count):
        x_total += _weight(x_first + i, x_centre, x_support, x_last)
    for j in range(tl.max(y_last - y_first, 0)):
        row = y_first + j
        y_weight = _weight(row, y_centre, y_support, y_last)
        y_total += y_weight
        for i in range(x_count):
            column = x_first + i
            weight = y_weight[:, None] * _weight(column, x_centre, x_support, x_last)[None, :]
            at = frame + (top + row)[:, None] * y_stride + (left + column)[None, :] * x_stride
            r, g, b = _pixel(at, needed & (weight > 0.0))
            red += weight * r
            green += weight * g
            blue += weight * b
    share = 1.0 / (y_total[:, None] * x_total[None, :])
    return red * share, green * share, blue * share


@triton.jit
def _window(distance, sigma, RADIUS: tl.constexpr, TAPS: tl.constexpr):
    """Weights of the blur at some distances, 0 beyond RADIUS."""
    d = tl.arange(0, TAPS) - RADIUS
    every = tl.where(d <= RADIUS, tl.exp(-0.5 * (d / sigma) * (d / sigma)), 0.0)
    steps = distance / sigma
    return tl.where(tl.abs(distance) <= RADIUS, tl.exp(-0.5 * steps * steps), 0.0) / tl.sum(every, 0)


@triton.jit
def _blur_width(
    target, image, sigma, top, left, SIZE, y_stride, x_stride,
    RADIUS: tl.constexpr, TAPS: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, STEP: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """Blur one channel of a tile along its width and write it, some columns at a time: registers are few."""
    INNER: tl.constexpr = COLUMNS - 2 * RADIUS
    y = top + tl.arange(0, ROWS)
    for u in range(0, tl.minimum(INNER, SIZE - left), STEP):
        column = u + tl.arange(0, STEP)
        distance = tl.arange(0, COLUMNS)[:, None] - RADIUS - column[None, :]
        band = _window(distance.to(tl.float32), sigma, RADIUS, TAPS)
        values = tl.dot(image, band, input_precision=PRECISION)
        x = left + column
        at = target + y[:, None].to(tl.int64) * y_stride + x[None, :] * x_stride
        mask = (y < SIZE)[:, None] & ((column < INNER) & (x < SIZE))[None, :]
        tl.store(at, values.to(target.dtype.element_ty), mask=mask)


@triton.jit
def _store(ptr, red, green, blue, y, x, c_stride, y_stride, x_stride, mask):
    ptr += y[:, None].to(tl.int64) * y_stride + x[None, :] * x_stride
    tl.store(ptr, red.to(ptr.dtype.element_ty), mask=mask)
    tl.store(ptr + c_stride, green.to(ptr.dtype.element_ty), mask=mask)
    tl.store(ptr + 2 * c_stride, blue.to(ptr.dtype.element_ty), mask=mask)


@triton.jit
def augment_kernel(
    CLIPS, COLOUR, FLIP, SIGMA, BOX, OUT, FRAMES, SIZE, low, high,
    clip_stride, frame_stride, y_stride, x_stride,
    out_clip_stride, out_c_stride, out_frame_stride, out_y_stride, out_x_stride,
    HAS_BOX: tl.constexpr, RADIUS: tl.constexpr, TAPS: tl.constexpr, ROWS: tl.constexpr,
    COLUMNS: tl.constexpr, STEP: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Program (tile, frame of a clip). COLOUR (N, 3, 4) maps bytes to normalised colours, whose range is
    ``low`` to ``high``.
    """
    INNER: tl.constexpr = COLUMNS - 2 * RADIUS
    across = tl.cdiv(SIZE, INNER)
    per_frame = across * tl.cdiv(SIZE, ROWS)
    pid = tl.program_id(0)
    tile = pid % per_frame
    clip = (pid // per_frame // FRAMES).to(tl.int64)
    frame = (pid // per_frame % FRAMES).to(tl.int64)
    top, left = tile // across * ROWS, tile % across * INNER
    source = CLIPS + clip * clip_stride + frame * frame_stride
    target = OUT + clip * out_clip_stride + frame * out_frame_stride
    m = COLOUR + clip * 12

    lane = tl.arange(0, COLUMNS)
    x = left - RADIUS + lane
    from_x = _mirrored(x, SIZE)
    from_x = tl.where(tl.load(FLIP + clip) != 0, SIZE - 1 - from_x, from_x)
    margin = 0
    if RADIUS > 0:
        sigma = tl.load(SIGMA + clip)
        margin = tl.where(sigma > 0.0, RADIUS, 0)
        red = tl.zeros([ROWS, COLUMNS], tl.float32)
        green = tl.zeros([ROWS, COLUMNS], tl.float32)
        blue = tl.zeros([ROWS, COLUMNS], tl.float32)

    rows = tl.minimum(ROWS, SIZE - top)
    needed_x = (lane >= RADIUS - margin) & (lane < RADIUS + INNER + margin) & (x < SIZE + margin)
    for k in range(0, rows + 2 * margin, STEP):
        y = top - margin + k + tl.arange(0, STEP)
        from_y = _mirrored(y, SIZE)
        needed = (y < top + rows + margin)[:, None] & needed_x[None, :]
        if HAS_BOX:
            r, g, b = _resampled(
                source, BOX + clip * 4, from_y, from_x, y_stride, x_stride, SIZE, needed, STEP, COLUMNS
            )
        else:
            r, g, b = _pixel(source + from_y[:, None] * y_stride + from_x[None, :] * x_stride, needed)
        new_r = tl.load(m) * r + tl.load(m + 1) * g + tl.load(m + 2) * b + tl.load(m + 3)
        new_g = tl.load(m + 4) * r + tl.load(m + 5) * g + tl.load(m + 6) * b + tl.load(m + 7)
        new_b = tl.load(m + 8) * r + tl.load(m + 9) * g + tl.load(m + 10) * b + tl.load(m + 11)
        r = tl.minimum(tl.maximum(new_r, low), high)
        g = tl.minimum(tl.maximum(new_g, low), high)
        b = tl.minimum(tl.maximum(new_b, low), high)
        if RADIUS > 0:
            if sigma > 0.0:
                distance = k + tl.arange(0, STEP)[None, :] - RADIUS - tl.arange(0, ROWS)[:, None]
                band = _window(distance.to(tl.float32), sigma, RADIUS, TAPS)
                red = tl.dot(band, r, red, input_precision=PRECISION)
                green = tl.dot(band, g, green, input_precision=PRECISION)
                blue = tl.dot(band, b, blue, input_precision=PRECISION)
            else:
                _store(target, r, g, b, y, x, out_c_stride, out_y_stride, out_x_stride, needed)
        else:
            _store(target, r, g, b, y, x, out_c_stride, out_y_stride, out_x_stride, needed)

    if RADIUS > 0:  # noqa: SIM102 - a constant: without a blur nothing below is compiled
        if sigma > 0.0:
            for c in tl.static_range(3):
                rows_blurred = red if c == 0 else (green if c == 1 else blue)
                _blur_width(
                    target + c * out_c_stride, rows_blurred, sigma, top, left, SIZE, out_y_stride,
                    out_x_stride, RADIUS, TAPS, ROWS, COLUMNS, STEP, PRECISION,
                )  # fmt: skip


def augment(
    clips: Tensor,
    params: AugmentParams,
    size: int,
    mean: float,
    std: float,
    dtype: torch.dtype,
    radius: int,
    memory_format: torch.memory_format,
) -> Tensor:
    """Augmented clips ``(N, 3, L, size, size)``.

    Arguments as in `bodvcl.ops.augment_clips`, which checks them.
    """
    clips = clips if clips.stride(-1) == 1 else clips.contiguous()
    count, length = clips.shape[:2]
    shape = (count, 3, length, size, size)
    out = torch.empty(shape, dtype=dtype, device=clips.device, memory_format=memory_format)
    if not out.numel():
        return out
    radius = min(radius, size - 1)
    colour = params.colour.to(torch.float32)
    folded = torch.cat((colour[:, :, :3] / (255 * std), (colour[:, :, 3:] - mean) / std), 2).contiguous()
    tile = tiles(radius, dtype)
    per_frame = triton.cdiv(size, tile.rows) * triton.cdiv(size, tile.columns - 2 * radius)
    box = params.box
    with torch.cuda.device(clips.device if clips.device.type == "cuda" else -1):
        augment_kernel[(count * length * per_frame,)](
            clips, folded, params.flip.contiguous().view(torch.uint8),
            params.sigma.to(torch.float32).contiguous(),
            folded if box is None else box.to(torch.int32).contiguous(), out,
            length, size, (0 - mean) / std, (1 - mean) / std, *clips.stride()[:4], *out.stride(),
            HAS_BOX=box is not None, **constants(radius, dtype),
            num_warps=tile.warps, num_stages=1, enable_fp_fusion=True,
        )  # fmt: skip
    return out
