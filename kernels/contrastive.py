"""Fused InfoNCE: log-sum-exps and softmax means of the keys, tile by tile, streams as a grid axis.

`forward` runs one kernel over (rows, splits of the keys, streams) for the negatives, the same kernel over the
few tiles that hold a positive, and one that merges the splits in their order. `backward_keys` runs one kernel
over (keys, splits of the rows, streams). Nothing is added atomically, and the number of splits depends only
on the shapes and the device, so results are bitwise the same from run to run.

Logits, sums and log-sum-exps are float32. float32 tiles are multiplied as three TF32 products by default;
bfloat16 tiles as bfloat16, and float16 tiles as TF32, which holds them exactly.
"""

from __future__ import annotations

import functools
import os
from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from bodvcl.ops.contrastive.problem import ContrastiveProblem

INTERPRET = os.environ.get("TRITON_INTERPRET") == "1"
LOG2E = tl.constexpr(1.4426950408889634)
LN2 = tl.constexpr(0.6931471805599453)
WAVES = 2
"""Number of programs per multiprocessor that `split_count` aims at."""
LARGE = 512
"""Vectors from which on a program owns more of them, where that pays."""
INTERPRETED_PROCESSORS = 4
"""Multiprocessors assumed under the interpreter, so that splits are exercised there."""


class Tiles(NamedTuple):
    """How a kernel divides its work.

    Attributes:
        own: number of vectors that a program owns.
        step: number of vectors that it compares them with at a time.
        chunk: width of the pieces of which products are made; the whole width if there are registers enough.
        warps: warps per program.
        stages: stages of the software pipeline.
    """

    own: int
    step: int
    chunk: int
    warps: int
    stages: int


def tiles(width: int, dtype: torch.dtype, sparse: bool = False, large: bool = False) -> Tiles:
    """The tiling for embeddings of ``width`` (at most 256) stored as ``dtype``.

    ``sparse`` is for the positives. ``large`` is for many vectors where matrix units take 64 rows for each
    group of four warps: 128 rows keep two of them busy, and every key that is read serves twice as many rows.

    No tiling takes more than 99 KiB of shared memory, the limit of the smallest device that the kernels are
    compiled for. None spills registers in a loop, but for one value in hundreds of instructions on some
    compilers.
    """
    if INTERPRET:
        return Tiles(16, 16, 16, 4, 1)
    whole = padded(width)
    narrow = whole <= 128
    if dtype == torch.bfloat16:
        if sparse:
            return Tiles(32, 32, min(whole, 128), 4, 1)
        return Tiles(64, 64, whole, 4 if whole <= 64 else 8, 2) if narrow else Tiles(64, 32, 128, 8, 1)
    if sparse:
        return Tiles(32, 32 if narrow else 16, 16, 8, 1)
    return Tiles(128 if large else 64, 32, 16, 8, 2) if narrow else Tiles(32, 32, 16, 8, 1)


def padded(width: int) -> int:
    """The tile width of embeddings of ``width``: a power of two that the matrix units take."""
    power: int = triton.next_power_of_2(width)
    return max(32, power)


def merge_warps(width: int) -> int:
    """Warps of the merge for embeddings of ``width``: with four, wide rows need too many registers."""
    return 8 if padded(width) >= 128 else 4


def operand(dtype: torch.dtype, precision: str) -> tuple[str, bool, bool]:
    """How tiles of ``dtype`` are multiplied.

    Returns:
        Input precision of the matrix units, whether tiles are widened to float32 before, and whether they are
        multiplied as bfloat16.
    """
    if INTERPRET:
        return "ieee", dtype != torch.float32, False
    if dtype == torch.float32:
        return ("ieee", False, True) if precision == "bf16" else (precision, False, False)
    return ("tf32", True, False) if dtype == torch.float16 else ("ieee", False, False)


@functools.lru_cache
def processor_count(device: torch.device) -> int:
    """Multiprocessors of a device; under the interpreter those that are assumed."""
    if device.type != "cuda":
        return INTERPRETED_PROCESSORS
    count: int = torch.cuda.get_device_properties(device).multi_processor_count
    return count


@functools.lru_cache
def takes_large(device: torch.device) -> bool:
    """Whether the matrix units of a device take 64 rows for each group of four warps (Hopper, Blackwell)."""
    return device.type == "cuda" and torch.cuda.get_device_capability(device)[0] in (9, 10)


def dense_tiles(rows: int, width: int, dtype: torch.dtype, device: torch.device) -> Tiles:
    """The tiling for ``rows`` vectors on a device."""
    return tiles(width, dtype, large=rows >= LARGE and takes_large(device))


def split_count(blocks: int, steps: int, device: torch.device) -> int:
    """Number of parts into which the steps of ``blocks`` programs are divided, so that the device is full."""
    return max(1, min(steps, 64, WAVES * processor_count(device) // max(blocks, 1)))


@triton.jit
def _tile(ptr, rows, count, stride, start, D, WIDTH: tl.constexpr, WIDEN: tl.constexpr, BF16: tl.constexpr):
    """Columns ``start`` to ``start + WIDTH`` of some rows, zero outside ``(count, D)``."""
    d = start + tl.arange(0, WIDTH)
    mask = (rows[:, None] < count) & (d[None, :] < D)
    x = tl.load(ptr + rows[:, None].to(tl.int64) * stride + d[None, :], mask=mask, other=0.0)
    if WIDEN:
        x = x.to(tl.float32)
    if BF16:
        x = x.to(tl.bfloat16)
    return x


@triton.jit
def _products(
    a, a_ptr, a_rows, a_count, a_stride, b_ptr, b_rows, b_count, b_stride, D,
    BLOCK_A: tl.constexpr, BLOCK_B: tl.constexpr, BLOCK_D: tl.constexpr, CHUNK: tl.constexpr,
    PRECISION: tl.constexpr, WIDEN: tl.constexpr, BF16: tl.constexpr,
):  # fmt: skip
    """All dot products of tile ``a`` with a second one, and that one; where registers are too few for whole
    tiles, the products are those of narrower pieces, loaded for this alone.
    """
    if CHUNK == BLOCK_D:
        b = _tile(b_ptr, b_rows, b_count, b_stride, 0, D, BLOCK_D, WIDEN, BF16)
        s = tl.dot(a, tl.trans(b), input_precision=PRECISION)
    else:
        s = tl.zeros([BLOCK_A, BLOCK_B], tl.float32)
        for start in range(0, D, CHUNK):
            a_piece = _tile(a_ptr, a_rows, a_count, a_stride, start, D, CHUNK, WIDEN, BF16)
            b_piece = _tile(b_ptr, b_rows, b_count, b_stride, start, D, CHUNK, WIDEN, BF16)
            s = tl.dot(a_piece, tl.trans(b_piece), s, input_precision=PRECISION)
        b = _tile(b_ptr, b_rows, b_count, b_stride, 0, D, BLOCK_D, WIDEN, BF16)
    return s, b


@triton.jit
def _step(
    q, q_ptr, rows, N, q_stride, factor, k_ptr, k_inverse_ptr, cols, count, k_stride, members,
    peak, total, acc, D,
    BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_D: tl.constexpr, CHUNK: tl.constexpr,
    MEANS: tl.constexpr, PRECISION: tl.constexpr, WIDEN: tl.constexpr, BF16: tl.constexpr,
):  # fmt: skip
    """One tile of keys into the running maximum, sum and weighted keys; returns the base-2 logits too."""
    inverse = tl.load(k_inverse_ptr + cols, mask=cols < count, other=0.0)
    members = members & (inverse != 0.0)[None, :]
    s, k = _products(
        q, q_ptr, rows, N, q_stride, k_ptr, cols, count, k_stride, D,
        BLOCK_N, BLOCK_K, BLOCK_D, CHUNK, PRECISION, WIDEN, BF16,
    )  # fmt: skip
    s = tl.where(members, s * factor[:, None] * inverse[None, :], -float("inf"))
    new_peak = tl.maximum(peak, tl.max(s, 1))
    shift = tl.where(new_peak == -float("inf"), 0.0, new_peak)
    p = tl.exp2(s - shift[:, None])
    decay = tl.exp2(peak - shift)
    total = total * decay + tl.sum(p, 1)
    if MEANS:
        acc = acc * decay[:, None]
        acc = tl.dot((p * inverse[None, :]).to(k.dtype), k, acc, input_precision=PRECISION)
    return new_peak, total, acc, s, members


@triton.jit
def contrastive_fwd_kernel(
    Q, K, QUEUE, Q_INVERSE, K_INVERSE, QUEUE_INVERSE, SCALE, Q_VIDEO, K_VIDEO, Q_CLIP, K_CLIP, ROWS, MEAN,
    H, N, COUNT_K, COUNT_QUEUE, D, q_stride_h, q_stride_n, k_stride_h, k_stride_n, queue_stride_h,
    queue_stride_n,
    GROUP: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_D: tl.constexpr,
    CHUNK: tl.constexpr, CLIPS: tl.constexpr, HAS_QUEUE: tl.constexpr, MEANS: tl.constexpr,
    PRECISION: tl.constexpr, WIDEN: tl.constexpr, BF16: tl.constexpr,
):  # fmt: skip
    """Program (rows, split, stream): one group's columns of ROWS (S, 5, 2, H, N) and MEAN (S, 2, H, N, D).

    The negatives (GROUP 0) take every tile, the positives only tiles that hold one.
    """
    split = tl.program_id(1).to(tl.int64)
    splits = tl.num_programs(1)
    h = tl.program_id(2).to(tl.int64)
    rows = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
    inside = rows < N
    q_ptr = Q + h * q_stride_h
    q = _tile(q_ptr, rows, N, q_stride_n, 0, D, BLOCK_D, WIDEN, BF16)
    q_inverse = tl.load(Q_INVERSE + h * N + rows, mask=inside, other=0.0)
    counts = q_inverse != 0.0
    factor = q_inverse * tl.load(SCALE + h) * LOG2E
    q_video = tl.load(Q_VIDEO + rows, mask=inside, other=0)
    if CLIPS:
        q_clip = tl.load(Q_CLIP + rows, mask=inside, other=0)
    peak = tl.full([BLOCK_N], -float("inf"), tl.float32)
    total = tl.zeros([BLOCK_N], tl.float32)
    acc = tl.zeros([BLOCK_N, BLOCK_D], tl.float32)
    summed = tl.zeros([BLOCK_N], tl.float32)
    number = tl.zeros([BLOCK_N], tl.float32)

    steps_k = tl.cdiv(COUNT_K, BLOCK_K)
    steps = steps_k
    if HAS_QUEUE:
        steps += tl.cdiv(COUNT_QUEUE, BLOCK_K)
    first = (split * steps // splits).to(tl.int32)
    last = ((split + 1) * steps // splits).to(tl.int32)
    k_ptr = K + h * k_stride_h
    k_inverse_ptr = K_INVERSE + h * COUNT_K
    for i in range(first, tl.minimum(last, steps_k)):
        cols = i * BLOCK_K + tl.arange(0, BLOCK_K)
        k_video = tl.load(K_VIDEO + cols, mask=cols < COUNT_K, other=0)
        members = counts[:, None] & (cols < COUNT_K)[None, :]
        if CLIPS:
            k_clip = tl.load(K_CLIP + cols, mask=cols < COUNT_K, other=0)
            members = members & (q_clip[:, None] != k_clip[None, :])
        if GROUP == 0:
            members = members & (q_video[:, None] != k_video[None, :])
            peak, total, acc, _, _ = _step(
                q, q_ptr, rows, N, q_stride_n, factor, k_ptr, k_inverse_ptr, cols, COUNT_K, k_stride_n,
                members, peak, total, acc, D, BLOCK_N, BLOCK_K, BLOCK_D, CHUNK, MEANS, PRECISION, WIDEN, BF16,
            )  # fmt: skip
        else:
            members = members & (q_video[:, None] == k_video[None, :])
            if tl.max(tl.max(members.to(tl.int32), 1), 0) > 0:
                peak, total, acc, s, members = _step(
                    q, q_ptr, rows, N, q_stride_n, factor, k_ptr, k_inverse_ptr, cols, COUNT_K, k_stride_n,
                    members, peak, total, acc, D, BLOCK_N, BLOCK_K, BLOCK_D, CHUNK, MEANS, PRECISION, WIDEN,
                    BF16,
                )  # fmt: skip
                summed += tl.sum(tl.where(members, s, 0.0), 1)
                number += tl.sum(members.to(tl.float32), 1)
    if HAS_QUEUE and GROUP == 0:
        for i in range(tl.maximum(first, steps_k) - steps_k, last - steps_k):
            cols = i * BLOCK_K + tl.arange(0, BLOCK_K)
            members = counts[:, None] & (cols < COUNT_QUEUE)[None, :]
            peak, total, acc, _, _ = _step(
                q, q_ptr, rows, N, q_stride_n, factor, QUEUE + h * queue_stride_h,
                QUEUE_INVERSE + h * COUNT_QUEUE, cols, COUNT_QUEUE, queue_stride_n, members,
                peak, total, acc, D, BLOCK_N, BLOCK_K, BLOCK_D, CHUNK, MEANS, PRECISION, WIDEN, BF16,
            )  # fmt: skip

    plane = 2 * H * N
    at = GROUP * H * N + h * N + rows
    out = ROWS + split * 5 * plane + at
    lse = tl.where(total == 0.0, -float("inf"), (peak + tl.log2(total)) * LN2)
    expected = tl.zeros([BLOCK_N], tl.float32)
    if MEANS:
        d = tl.arange(0, BLOCK_D)
        mean = acc / tl.where(total == 0.0, 1.0, total)[:, None]
        again = _tile(q_ptr, rows, N, q_stride_n, 0, D, BLOCK_D, True, False)
        expected = tl.where(counts, tl.sum(again * mean, 1) * factor * LN2, 0.0)
        mean_ptr = MEAN + split * plane * D + at[:, None] * D + d[None, :]
        tl.store(mean_ptr, mean, mask=inside[:, None] & (d[None, :] < D))
    tl.store(out, lse, mask=inside)
    tl.store(out + plane, expected, mask=inside)
    tl.store(out + 2 * plane, peak * LN2, mask=inside)
    tl.store(out + 3 * plane, summed * LN2, mask=inside)
    tl.store(out + 4 * plane, number, mask=inside)


@triton.jit
def contrastive_merge_kernel(
    PART_ROWS, PART_MEAN, ROWS, MEAN, TOTAL, S, D,
    BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr, MEANS: tl.constexpr,
):  # fmt: skip
    """Join S parts, in their order, into ROWS (5, TOTAL) and MEAN (TOTAL, D); TOTAL is 2 x streams x rows."""
    rows = tl.program_id(0).to(tl.int64) * BLOCK_N + tl.arange(0, BLOCK_N)
    d = tl.arange(0, BLOCK_D)
    inside = rows < TOTAL
    mask = inside[:, None] & (d[None, :] < D)
    whole = tl.full([BLOCK_N], -float("inf"), tl.float32)
    top = tl.full([BLOCK_N], -float("inf"), tl.float32)
    weight = tl.zeros([BLOCK_N], tl.float32)
    expected = tl.zeros([BLOCK_N], tl.float32)
    summed = tl.zeros([BLOCK_N], tl.float32)
    number = tl.zeros([BLOCK_N], tl.float32)
    mean = tl.zeros([BLOCK_N, BLOCK_D], tl.float32)
    for i in range(S):
        part = PART_ROWS + i * 5 * TOTAL.to(tl.int64) + rows
        lse = tl.load(part, mask=inside, other=-float("inf"))
        new = tl.maximum(whole, lse)
        shift = tl.where(new == -float("inf"), 0.0, new)
        decay = tl.exp2((whole - shift) * LOG2E)
        share = tl.exp2((lse - shift) * LOG2E)
        weight = weight * decay + share
        expected = expected * decay + share * tl.load(part + TOTAL, mask=inside, other=0.0)
        top = tl.maximum(top, tl.load(part + 2 * TOTAL.to(tl.int64), mask=inside, other=0.0))
        summed += tl.load(part + 3 * TOTAL.to(tl.int64), mask=inside, other=0.0)
        number += tl.load(part + 4 * TOTAL.to(tl.int64), mask=inside, other=0.0)
        if MEANS:
            values = tl.load(
                PART_MEAN + (i * TOTAL.to(tl.int64) + rows[:, None]) * D + d[None, :], mask=mask, other=0.0
            )
            mean = mean * decay[:, None] + values * share[:, None]
        whole = new
    lse = tl.where(weight == 0.0, -float("inf"), whole + tl.log2(weight) * LN2)
    divisor = tl.where(weight == 0.0, 1.0, weight)
    tl.store(ROWS + rows, lse, mask=inside)
    tl.store(ROWS + TOTAL + rows, expected / divisor, mask=inside)
    tl.store(ROWS + 2 * TOTAL.to(tl.int64) + rows, top, mask=inside)
    tl.store(ROWS + 3 * TOTAL.to(tl.int64) + rows, summed, mask=inside)
    tl.store(ROWS + 4 * TOTAL.to(tl.int64) + rows, number, mask=inside)
    if MEANS:
        tl.store(MEAN + rows[:, None] * D + d[None, :], mean / divisor[:, None], mask=mask)


@triton.jit
def contrastive_bwd_keys_kernel(
    Q, K, Q_INVERSE, K_INVERSE, SCALE, Q_VIDEO, K_VIDEO, Q_CLIP, K_CLIP, LSE, GRAD, OUT,
    H, N, COUNT_K, D, q_stride_h, q_stride_n, k_stride_h, k_stride_n,
    BLOCK_K: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr, CHUNK: tl.constexpr,
    CLIPS: tl.constexpr, PRECISION: tl.constexpr, WIDEN: tl.constexpr, BF16: tl.constexpr,
):  # fmt: skip
    """Program (keys, split of the rows, stream): gradient in the unit keys, OUT (S, H, K, D)."""
    split = tl.program_id(1).to(tl.int64)
    splits = tl.num_programs(1)
    h = tl.program_id(2).to(tl.int64)
    cols = tl.program_id(0) * BLOCK_K + tl.arange(0, BLOCK_K)
    d = tl.arange(0, BLOCK_D)
    inside = cols < COUNT_K
    k_ptr, q_ptr = K + h * k_stride_h, Q + h * q_stride_h
    k = _tile(k_ptr, cols, COUNT_K, k_stride_n, 0, D, BLOCK_D, WIDEN, BF16)
    inverse = tl.load(K_INVERSE + h * COUNT_K + cols, mask=inside, other=0.0)
    scale = tl.load(SCALE + h)
    factor = inverse * scale * LOG2E
    k_video = tl.load(K_VIDEO + cols, mask=inside, other=0)
    if CLIPS:
        k_clip = tl.load(K_CLIP + cols, mask=inside, other=0)
    acc = tl.zeros([BLOCK_K, BLOCK_D], tl.float32)
    steps = tl.cdiv(N, BLOCK_N)
    first = (split * steps // splits).to(tl.int32)
    last = ((split + 1) * steps // splits).to(tl.int32)
    group = H * N
    for i in range(first, last):
        rows = i * BLOCK_N + tl.arange(0, BLOCK_N)
        live = rows < N
        q_inverse = tl.load(Q_INVERSE + h * N + rows, mask=live, other=0.0)
        q_video = tl.load(Q_VIDEO + rows, mask=live, other=0)
        at = h * N + rows
        lse_negative = tl.load(LSE + at, mask=live, other=0.0)
        lse_positive = tl.load(LSE + group + at, mask=live, other=0.0)
        grad_negative = tl.load(GRAD + at, mask=live, other=0.0)
        grad_positive = tl.load(GRAD + group + at, mask=live, other=0.0)
        same = k_video[:, None] == q_video[None, :]
        members = (inverse != 0.0)[:, None] & (q_inverse != 0.0)[None, :]
        if CLIPS:
            q_clip = tl.load(Q_CLIP + rows, mask=live, other=0)
            members = members & (k_clip[:, None] != q_clip[None, :])
        s, q = _products(
            k, k_ptr, cols, COUNT_K, k_stride_n, q_ptr, rows, N, q_stride_n, D,
            BLOCK_K, BLOCK_N, BLOCK_D, CHUNK, PRECISION, WIDEN, BF16,
        )  # fmt: skip
        s = s * factor[:, None] * q_inverse[None, :]
        lse = tl.where(same, lse_positive[None, :], lse_negative[None, :]) * LOG2E
        grad = tl.where(same, grad_positive[None, :], grad_negative[None, :]) * q_inverse[None, :]
        weight = tl.where(members, tl.exp2(tl.where(members, s - lse, 0.0)) * grad, 0.0)
        acc = tl.dot(weight.to(q.dtype), q, acc, input_precision=PRECISION)
    out = OUT + ((split * H + h) * COUNT_K + cols[:, None].to(tl.int64)) * D + d[None, :]
    tl.store(out, acc * scale, mask=inside[:, None] & (d[None, :] < D))


def forward(problem: ContrastiveProblem, precision: str, means: bool) -> tuple[Tensor, Tensor]:
    """The table ``(5, 2, H, N)`` and each group's softmax mean of the unit keys ``(2, H, N, D)``.

    Args:
        problem: a call whose tensors are float32, float16 or bfloat16, D at most 256.
        precision: how float32 is multiplied: "tf32x3", "tf32", "ieee" or "bf16".
        means: False leaves out the means (shape (0,)) and the expected logits (0).
    """
    query, keys = _rows_contiguous(problem.query), _rows_contiguous(problem.keys)
    queue = keys if problem.queue is None else _rows_contiguous(problem.queue)
    queue_inverse = problem.key_inverse if problem.queue_inverse is None else problem.queue_inverse
    h, n, d = query.shape
    has_queue = problem.queue is not None and queue.shape[1] > 0
    shape = dense_tiles(n, d, query.dtype, query.device)
    blocks = triton.cdiv(n, shape.own)
    steps = triton.cdiv(keys.shape[1], shape.step)
    steps += triton.cdiv(queue.shape[1], shape.step) if has_queue else 0
    splits = split_count(blocks * h, steps, query.device)
    rows = problem.scale.new_empty(splits, 5, 2, h, n)
    mean = problem.scale.new_empty((splits, 2, h, n, d) if means else (splits, 0))
    input_precision, widen, bf16 = operand(query.dtype, precision)
    with _on(query):
        for group, tile in enumerate((shape, tiles(d, query.dtype, sparse=True))):
            contrastive_fwd_kernel[(triton.cdiv(n, tile.own), splits, h)](
                query, keys, queue, problem.query_inverse.contiguous(), problem.key_inverse.contiguous(),
                queue_inverse.contiguous(), problem.scale.contiguous(), *_ids(problem), rows, mean,
                h, n, keys.shape[1], queue.shape[1], d, *query.stride()[:2], *keys.stride()[:2],
                *queue.stride()[:2],
                GROUP=group, BLOCK_N=tile.own, BLOCK_K=tile.step, BLOCK_D=padded(d), CHUNK=tile.chunk,
                CLIPS=problem.key_clip is not None, HAS_QUEUE=has_queue, MEANS=means,
                PRECISION=input_precision, WIDEN=widen, BF16=bf16,
                num_warps=tile.warps, num_stages=tile.stages, enable_fp_fusion=True,
            )  # fmt: skip
        if splits == 1:
            return rows[0], mean[0]
        whole, whole_mean = torch.empty_like(rows[0]), torch.empty_like(mean[0])
        count = 2 * h * n
        contrastive_merge_kernel[(triton.cdiv(count, 16),)](
            rows, mean, whole, whole_mean, count, splits, d,
            BLOCK_N=16, BLOCK_D=padded(d), MEANS=means, num_warps=merge_warps(d), enable_fp_fusion=True,
        )  # fmt: skip
    return whole, whole_mean


def backward_keys(problem: ContrastiveProblem, lse: Tensor, grad: Tensor, precision: str) -> Tensor:
    """Gradient ``(H, K, D)`` in the unit keys, float32.

    Args:
        problem: as in `forward`, without a queue.
        lse: ``(2, H, N)``, the log-sum-exps that `forward` gave.
        grad: ``(2, H, N)``, gradient in them; 0 where ``lse`` is -inf.
        precision: as in `forward`.
    """
    query, keys = _rows_contiguous(problem.query), _rows_contiguous(problem.keys)
    h, n, d = query.shape
    k = keys.shape[1]
    shape = dense_tiles(k, d, query.dtype, query.device)
    blocks = triton.cdiv(k, shape.own)
    splits = split_count(blocks * h, triton.cdiv(n, shape.step), query.device)
    out = problem.scale.new_empty(splits, h, k, d)
    input_precision, widen, bf16 = operand(query.dtype, precision)
    with _on(query):
        contrastive_bwd_keys_kernel[(blocks, splits, h)](
            query, keys, problem.query_inverse.contiguous(), problem.key_inverse.contiguous(),
            problem.scale.contiguous(), *_ids(problem), lse.contiguous(), grad.contiguous(), out,
            h, n, k, d, *query.stride()[:2], *keys.stride()[:2],
            BLOCK_K=shape.own, BLOCK_N=shape.step, BLOCK_D=padded(d), CHUNK=shape.chunk,
            CLIPS=problem.key_clip is not None, PRECISION=input_precision, WIDEN=widen, BF16=bf16,
            num_warps=shape.warps, num_stages=shape.stages, enable_fp_fusion=True,
        )  # fmt: skip
    return out[0] if splits == 1 else out.sum(0)


def _ids(problem: ContrastiveProblem) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    query, keys = problem.query_video.contiguous(), problem.key_video.contiguous()
    if problem.query_clip is None or problem.key_clip is None:
        return query, keys, query, keys
    return query, keys, problem.query_clip.contiguous(), problem.key_clip.contiguous()


def _rows_contiguous(x: Tensor) -> Tensor:
    return x if x.stride(-1) == 1 else x.contiguous()


def _on(x: Tensor) -> torch.cuda.device:
    """The device context of ``x``: Triton launches on the current device."""
    return torch.cuda.device(x.device if x.device.type == "cuda" else -1)
