"""From the arguments of a call to a checked `ContrastiveProblem`, and from that to the table of a route."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from bodvcl.ops.checks import check_valid, one_of
from bodvcl.ops.contrastive.backend import ContrastiveRequest, choose_contrastive
from bodvcl.ops.contrastive.checks import as_temperature, check_ids, check_pair, stream_names
from bodvcl.ops.contrastive.derivatives import fused
from bodvcl.ops.contrastive.eager import eager
from bodvcl.ops.contrastive.norms import inverse_norms_op
from bodvcl.ops.contrastive.parts import InfoNCEParts
from bodvcl.ops.contrastive.problem import COUNT, EXPECTED, LSE, POSITIVES, SUM, TOP, ContrastiveProblem
from bodvcl.ops.transforms import active, needs_eager

OP = "info_nce"
Fused = Callable[[ContrastiveProblem, str, str, bool], Tensor]
Precision = Literal["tf32x3", "tf32", "ieee", "bf16"]


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
    """The checked call, and for each stream ``(H,)`` the number of valid rows without a direction.

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
    tau = as_temperature(OP, temperature, query)
    names = stream_names(OP, streams, query.shape[0])

    def factors(x: Tensor, name: str, temperatures: Tensor | None = None) -> Tensor:
        found: Tensor = inverse_norms_op(x.detach(), temperatures, normalize, check_finite, name, names)
        return found

    learned = tau.detach() if isinstance(temperature, Tensor) else None
    query_inverse = factors(query, "query", learned)
    lengths = query_inverse if valid is None else torch.where(valid, query_inverse, 1.0)
    empty = (lengths == 0).sum(-1).to(tau.dtype)
    if valid is not None:
        query_inverse = torch.where(valid, query_inverse, 0.0)
    problem = ContrastiveProblem(
        query=query,
        keys=keys,
        queue=queue,
        query_inverse=query_inverse,
        key_inverse=query_inverse if keys is query else factors(keys, "keys"),
        queue_inverse=None if queue is None else factors(queue, "queue"),
        scale=torch.where(tau > 0, 1 / tau, torch.nan),
        query_video=query_video.long(),
        key_video=key_video.long(),
        query_clip=None if query_clip is None else query_clip.long(),
        key_clip=None if key_clip is None else key_clip.long(),
        normalize=normalize,
    )
    return problem, empty


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
    one_of(f"{OP}: precision", precision, get_args(Precision))
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
            rows = eager(problem)
    else:
        differentiable = (query, problem.keys, problem.scale)
        wants = any(x.requires_grad for x in differentiable) and torch.is_grad_enabled()
        means = statistics or wants or active()
        run: Fused = fused
        if needs_eager():
            from bodvcl.ops.contrastive.uncompiled import fused_eagerly as run
        rows = run(problem, route, precision, means)
    side = rows.detach()
    return InfoNCEParts(
        lse=rows[LSE],
        expected=side[EXPECTED],
        top=side[TOP],
        total=side[SUM, POSITIVES],
        count=side[COUNT, POSITIVES],
    )
