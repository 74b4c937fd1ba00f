"""The blocked route in PyTorch: a block of rows against all keys at a time, two matrix products a block.

Keeps O((N + K) D) numbers, never the matrix: a block of logits has at most `BLOCK` elements (or `LEAST_ROWS`
rows), and the backward pass computes it again. Positives and exclusions are few, so they are pairs of
indices, found by sorting the ids, and not masks.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from bodvcl.ops.contrastive.problem import (
    COUNT,
    EXPECTED,
    LSE,
    NEGATIVES,
    POSITIVES,
    SUM,
    TOP,
    ContrastiveProblem,
)

BLOCK = 2**19
LEAST_ROWS = 16


class _Related(NamedTuple):
    """Keys with the id of a row, for every row: ``number`` entries of ``order`` from ``start`` on."""

    order: Tensor
    start: Tensor
    number: Tensor


class _Pairs(NamedTuple):
    """Pairs of a block: its rows, the keys, and the position in the block's matrix."""

    row: Tensor
    key: Tensor
    flat: Tensor


class _Block(NamedTuple):
    """Rows ``first`` to ``last``; pairs of equal video that may be positives, and pairs that are excluded."""

    first: int
    last: int
    positive: _Pairs
    excluded: _Pairs


class _Operands(NamedTuple):
    """Unit vectors in the accumulation type: queries times scale, keys, queue (or None); gaps among keys."""

    query: Tensor
    keys: Tensor
    queue: Tensor | None
    gaps: Tensor | None


def forward(problem: ContrastiveProblem, means: bool) -> tuple[Tensor, Tensor]:
    """The table ``(5, 2, H, N)`` and each group's softmax mean of the unit keys ``(2, H, N, D)``.

    The means (and the expected logits in the table) are left out where ``means`` is False: shape (0,).
    """
    h, n, d = problem.query.shape
    rows = problem.empty_rows()
    mean = problem.scale.new_zeros((2, h, n, d) if means else (0,))
    operands = _operands(problem)
    for block in _blocks(problem):
        span = slice(block.first, block.last)
        for s in range(h):
            logits = _logits(operands, s, block)
            _positives(problem, operands, s, block, logits, rows, mean)
            _drop(logits, block, operands, s)
            top, total = _exponentials(logits)
            rows[LSE, NEGATIVES, s, span] = top + total.log()
            rows[TOP, NEGATIVES, s, span] = top.masked_fill(total == 0, -torch.inf)
            if means:
                average = _times_keys(logits, operands, s) / total.clamp_min(1e-30)[:, None]
                mean[NEGATIVES, s, span] = average
                rows[EXPECTED, NEGATIVES, s, span] = (average * operands.query[s, span]).sum(-1)
    gone = problem.query_inverse == 0
    empty = problem.empty_rows()
    rows = torch.where(gone, empty, rows)
    if means:
        mean.masked_fill_(gone[..., None], 0.0)
    return rows, mean


def backward_keys(problem: ContrastiveProblem, lse: Tensor, grad: Tensor) -> Tensor:
    """Gradient ``(H, K, D)`` in the unit keys from ``grad (2, H, N)`` of the log-sum-exps ``lse (2, H, N)``.

    ``grad`` is 0 where ``lse`` is -inf.
    """
    out = torch.zeros_like(problem.keys, dtype=problem.wide, memory_format=torch.contiguous_format)
    operands = _operands(problem.without_queue())
    safe = torch.where(lse == -torch.inf, torch.inf, lse)
    for block in _blocks(problem.without_queue()):
        span = slice(block.first, block.last)
        for s in range(len(out)):
            logits, weight = _weights(problem, operands, s, block, safe[:, s, span])
            logits.mul_(grad[NEGATIVES, s, span, None])
            weight.mul_(grad[POSITIVES, s, span][block.positive.row])
            logits.view(-1).scatter_(0, block.positive.flat, weight)
            out[s].addmm_(logits.mT, operands.query[s, span])
    return out


def forward_keys(problem: ContrastiveProblem, lse: Tensor, change: Tensor) -> Tensor:
    """Tangent of the log-sum-exps ``lse (2, H, N)`` from that of the unit keys, ``change (H, K, D)``."""
    out = torch.zeros_like(lse)
    operands = _operands(problem.without_queue())
    safe = torch.where(lse == -torch.inf, torch.inf, lse)
    for block in _blocks(problem.without_queue()):
        span, (row, key, _) = slice(block.first, block.last), block.positive
        for s in range(len(change)):
            logits, weight = _weights(problem, operands, s, block, safe[:, s, span])
            query = operands.query[s, span]
            out[NEGATIVES, s, span] = ((logits @ change[s]) * query).sum(-1)
            each = weight * (query[row] * change[s][key]).sum(-1)
            out[POSITIVES, s, span] = _add_rows(query.new_zeros(len(query)), row, each)
    return out


def _weights(
    problem: ContrastiveProblem, operands: _Operands, stream: int, block: _Block, safe: Tensor
) -> tuple[Tensor, Tensor]:
    """Softmax weights of the negatives, as a matrix, and of the positive pairs.

    ``safe``: log-sum-exps ``(2, rows)``, infinity for an empty group.
    """
    logits = _logits(operands, stream, block)
    pairs = block.positive
    positive = (logits.view(-1)[pairs.flat] - safe[POSITIVES][pairs.row]).exp_()
    positive = torch.where(problem.key_inverse[stream][pairs.key] == 0, 0.0, positive)
    _drop(logits, block, operands, stream)
    return logits.sub_(safe[NEGATIVES, :, None]).exp_(), positive


def _operands(problem: ContrastiveProblem) -> _Operands:
    wide = problem.wide
    factor = problem.query_inverse * problem.scale[:, None]
    query = problem.query.to(wide) * factor[..., None]
    keys = problem.keys.to(wide) * problem.key_inverse[..., None]
    queue, inverse = None, problem.key_inverse
    if problem.queue is not None and problem.queue_inverse is not None:
        queue = problem.queue.to(wide) * problem.queue_inverse[..., None]
        inverse = torch.cat((inverse, problem.queue_inverse), 1)
    gaps = inverse == 0
    return _Operands(query, keys, queue, gaps if bool(gaps.any()) else None)


def _blocks(problem: ContrastiveProblem) -> Iterator[_Block]:
    n, width = problem.query.shape[1], problem.key_count
    if width == 0:
        return
    size = min(n, max(LEAST_ROWS, BLOCK // width))
    video = _related(problem.query_video, problem.key_video)
    query_clip, key_clip = problem.query_clip, problem.key_clip
    clip = None if query_clip is None or key_clip is None else _related(query_clip, key_clip)
    for first in range(0, n, size):
        last = min(first + size, n)
        pairs = _pairs(video, first, last, width)
        if query_clip is None or key_clip is None or clip is None:
            yield _Block(first, last, pairs, _Pairs(*(x[:0] for x in pairs)))
            continue
        differ = (query_clip[first:last][pairs.row] != key_clip[pairs.key]).nonzero()[:, 0]
        yield _Block(first, last, _Pairs(*(x[differ] for x in pairs)), _pairs(clip, first, last, width))


def _related(query_ids: Tensor, key_ids: Tensor) -> _Related:
    ordered, order = key_ids.sort(stable=True)
    start = torch.searchsorted(ordered, query_ids)
    return _Related(order, start, torch.searchsorted(ordered, query_ids, right=True) - start)


def _pairs(related: _Related, first: int, last: int, width: int) -> _Pairs:
    start, number = related.start[first:last], related.number[first:last]
    row = torch.arange(last - first, device=start.device).repeat_interleave(number)
    before = (number.cumsum(0) - number)[row]
    key = related.order[start[row] + torch.arange(len(row), device=row.device) - before]
    return _Pairs(row, key, row * width + key)


def _logits(operands: _Operands, stream: int, block: _Block) -> Tensor:
    query, keys = operands.query[stream, block.first : block.last], operands.keys[stream]
    if operands.queue is None:
        return query @ keys.mT
    k, width = len(keys), len(keys) + operands.queue.shape[1]
    logits = query.new_empty(len(query), width)
    torch.mm(query, keys.mT, out=logits[:, :k])
    torch.mm(query, operands.queue[stream].mT, out=logits[:, k:])
    return logits


def _drop(logits: Tensor, block: _Block, operands: _Operands, stream: int) -> None:
    """Put -inf where there is no negative: at positives, excluded pairs, and keys that are left out."""
    logits.view(-1).index_fill_(0, block.positive.flat, -torch.inf)
    logits.view(-1).index_fill_(0, block.excluded.flat, -torch.inf)
    if operands.gaps is not None:
        logits.masked_fill_(operands.gaps[stream, : logits.shape[1]], -torch.inf)


def _exponentials(logits: Tensor) -> tuple[Tensor, Tensor]:
    """``exp(logits - top)`` in place, with top (0 for a row of -inf) and the sum."""
    top = logits.amax(-1)
    top = torch.where(top == -torch.inf, 0.0, top)
    return top, logits.sub_(top[:, None]).exp_().sum(-1)


def _times_keys(weights: Tensor, operands: _Operands, stream: int) -> Tensor:
    keys = operands.keys[stream]
    out = weights[:, : len(keys)] @ keys
    return out if operands.queue is None else out.addmm_(weights[:, len(keys) :], operands.queue[stream])


def _positives(
    problem: ContrastiveProblem,
    operands: _Operands,
    stream: int,
    block: _Block,
    logits: Tensor,
    rows: Tensor,
    mean: Tensor,
) -> None:
    """The positives' columns of the table, from the pairs alone."""
    row, key, flat = block.positive
    span = slice(block.first, block.last)
    counts = problem.key_inverse[stream][key] != 0
    values = torch.where(counts, logits.view(-1)[flat], -torch.inf)
    top = logits.new_full((len(logits),), -torch.inf).scatter_reduce_(0, row, values, "amax")
    shift = torch.where(top == -torch.inf, 0.0, top)
    weight = (values - shift[row]).exp_()
    zeros = logits.new_zeros(len(logits))
    total = _add_rows(zeros.clone(), row, weight)
    columns = rows[:, POSITIVES, stream, span]
    columns[LSE] = shift + total.log()
    columns[TOP] = top
    columns[SUM] = _add_rows(zeros.clone(), row, torch.where(counts, values, 0.0))
    columns[COUNT] = _add_rows(zeros, row, counts.to(values.dtype))
    if mean.numel():
        part = weight / total.clamp_min(1e-30)[row]
        average = _add_rows(
            torch.zeros_like(operands.query[stream, span]), row, part[:, None] * operands.keys[stream][key]
        )
        mean[POSITIVES, stream, span] = average
        columns[EXPECTED] = (average * operands.query[stream, span]).sum(-1)


def _add_rows(out: Tensor, index: Tensor, values: Tensor) -> Tensor:
    """``out[index] += values`` in one order, whatever the device: bitwise the same from run to run."""
    if out.device.type == "cpu":
        return out.index_add_(0, index, values)
    return out.index_put_((index,), values, accumulate=True)
