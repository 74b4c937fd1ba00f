"""From the arguments of a call to a checked `ContrastiveProblem`, and from that to the table of a route."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from bodvcl.ops.checks import check_valid, one_of
from bodvcl.ops.constants import where
from bodvcl.ops.contrastive.backend import ContrastiveRequest, choose_contrastive
from bodvcl.ops.contrastive.checks import as_scale, check_ids, check_pair, stream_names
from bodvcl.ops.contrastive.derivatives import fused
from bodvcl.ops.contrastive.eager import eager, eager_lse
from bodvcl.ops.contrastive.norms import inverse_norms
from bodvcl.ops.contrastive.parts import InfoNCEParts
from bodvcl.ops.contrastive.problem import COUNT, EXPECTED, LSE, POSITIVES, SUM, TOP, ContrastiveProblem
from bodvcl.ops.transforms import active, needs_eager

OP = "info_nce"
Fused = Callable[[ContrastiveProblem, str, str, bool], Tensor]
Precision = Literal["tf32x3", "tf32", "ieee", "bf16"]
PRECISIONS = get_args(Precision)


def prepare(
    *,
    query: Tensor,
    keys: Tensor,
    query_video: Tensor,
    key_video: Tensor,
    query_clip: Tensor | None,
    key_clip: Tensor | None,
    queue: Tensor | None,
    temperature: float | Tensor,
    valid: Tensor | None,
    normalize: bool,
    streams: Sequence[str] | None,
    check_finite: bool,
) -> tuple[ContrastiveProblem, Tensor]:
    """The checked call, and the factors ``(H, N)`` of all queries, valid or not.

    Arguments and errors as in `bodvcl.ops.contrastive.info_nce`.
    """
    check_pair(OP, query, keys)
    ids = {
        "query_video": query_video,
        "key_video": key_video,
        "query_clip": query_clip,
        "key_clip": key_clip,
    }
    check_ids(OP, query, keys, ids)
    check_valid(OP, valid, query, "query", 2)
    if queue is not None:
        check_pair(OP, query, queue, names=("query", "queue"), length="Q")
        queue = queue.detach()
    scale, learned = as_scale(OP, temperature, query)
    names = stream_names(OP, streams, query.shape[0])

    def factors(x: Tensor, name: str, temperatures: Tensor | None = None) -> Tensor:
        return inverse_norms(x, temperatures, normalize, check_finite, name, names)

    every = factors(query, "query", learned)
    query_inverse = every if valid is None else where(valid, every, 0.0)
    problem = ContrastiveProblem(
        query=query,
        keys=keys,
        queue=queue,
        query_inverse=query_inverse,
        key_inverse=query_inverse if keys is query else factors(keys, "keys"),
        queue_inverse=None if queue is None else factors(queue, "queue"),
        scale=scale,
        query_video=query_video.long(),
        key_video=key_video.long(),
        query_clip=None if query_clip is None else query_clip.long(),
        key_clip=None if key_clip is None else key_clip.long(),
        normalize=normalize,
    )
    return problem, every


def empty_rows(factors: Tensor, valid: Tensor | None) -> Tensor:
    """``(H,)``, the number of valid rows without a direction, from the factors ``(H, N)`` of all rows."""
    empty = factors == 0
    return (empty if valid is None else empty & valid).sum(-1).to(factors.dtype)


def solve(problem: ContrastiveProblem, *, statistics: bool, precision: str, backend: str) -> InfoNCEParts:
    """The parts of a problem, by the backend that serves it.

    Args:
        problem: the checked call.
        statistics: whether ``expected`` is needed even where no gradient asks for it.
        precision: how the kernels multiply float32.
        backend: "auto" or the name of a backend.

    Raises:
        ValueError: an unknown precision or backend.
        bodvcl.ops.BackendError: the backend was named and cannot serve the call.
    """
    rows = _rows(problem, statistics, True, precision, backend)
    side = rows.detach()
    return InfoNCEParts(
        lse=rows[LSE],
        expected=side[EXPECTED],
        top=side[TOP],
        total=side[SUM, POSITIVES],
        count=side[COUNT, POSITIVES],
    )


def log_sum_exps(problem: ContrastiveProblem, *, precision: str, backend: str) -> Tensor:
    """``lse (2, H, N)`` of `InfoNCEParts` alone; arguments and errors as in `solve`."""
    return _rows(problem, False, False, precision, backend)


def _rows(problem: ContrastiveProblem, statistics: bool, sides: bool, precision: str, backend: str) -> Tensor:
    """The table ``(5, 2, H, N)`` of `ContrastiveProblem`, or its first plane.

    Args:
        problem: the checked call.
        statistics: whether the expected logits are needed even where no gradient asks for them.
        sides: whether other planes than the first are needed.
        precision: how the kernels multiply float32.
        backend: "auto" or the name of a backend.

    Raises:
        ValueError: an unknown precision or backend.
        bodvcl.ops.BackendError: the backend was named and cannot serve the call.
    """
    one_of(f"{OP}: precision", precision, PRECISIONS)
    query = problem.query
    streams, queries, width = query.shape
    route = choose_contrastive(
        backend,
        ContrastiveRequest(
            device=query.device.type,
            dtype=query.dtype,
            streams=streams,
            queries=queries,
            keys=problem.key_count,
            width=width,
        ),
    )
    if route == "torch":
        with torch.autocast(query.device.type, enabled=False):
            return eager(problem) if sides else eager_lse(problem)
    differentiable = (query, problem.keys, problem.scale)
    wants = any(x.requires_grad for x in differentiable) and torch.is_grad_enabled()
    means = statistics or wants or active()
    run: Fused = fused
    if needs_eager():
        from bodvcl.ops.contrastive.uncompiled import fused_eagerly as run
    rows = run(problem, route, precision, means)
    return rows if sides else rows[LSE]
