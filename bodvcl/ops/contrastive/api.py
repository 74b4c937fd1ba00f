"""Contrastive losses over H streams at once, without writing a similarity matrix (Eqs. 1, 4 and 22).

``query (H, N, D)`` is compared with ``keys (H, K, D)`` stream by stream: static with static, dynamic with
dynamic. Positives and exclusions are told by integer ids. The algebra is derived in ``docs/contrastive.md``.

Defined edge cases: a row that is not valid, whose vector is zero, or that has no positive contributes 0 and
gets no gradient; a zero key counts for nobody; a row without negatives has loss 0; empty batches work.

Derivatives: forward and reverse mode, ``torch.func`` and ``torch.func.vmap`` on every route; a second
derivative on the route "torch". What a route cannot do raises RuntimeError.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, overload

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, normalize

from bodvcl.ops.contrastive import checks as check
from bodvcl.ops.contrastive.backend import ContrastiveRequest, choose_contrastive
from bodvcl.ops.contrastive.eager import eager
from bodvcl.ops.contrastive.op import NO_DIRECTION, fused, inverse_norms_op
from bodvcl.ops.contrastive.problem import COUNT, EXPECTED, LSE, POSITIVES, SUM, TOP, Problem
from bodvcl.ops.transforms import active, needs_eager

Reduction = Literal["mean", "sum", "none"]
Backend = Literal["auto", "triton", "chunked", "torch", "reference"]
Precision = Literal["tf32x3", "tf32", "ieee", "bf16"]


class InfoNCEStats(NamedTuple):
    """What the loss saw, per stream ``(H,)`` in its dtype, detached; means over contributing rows, 0 if none.

    positive_similarity: mean over rows of the mean similarity with the positives: a cosine if normalised.
    top1: share of rows whose most similar key is a positive; a tie with a negative is a miss.
    entropy: of the softmax over all keys of a row that are not excluded, in nats.
    rows: contributing rows.
    empty: valid rows with a zero vector, an empty stream; 0 without normalisation.
    """

    positive_similarity: Tensor
    top1: Tensor
    entropy: Tensor
    rows: Tensor
    empty: Tensor


class InfoNCEParts(NamedTuple):
    """InfoNCE against a part of the keys, to be joined with other parts by `merge`.

    Logits are similarities over the temperature. ``(2, H, N)`` has the negatives first, then the positives.

    lse: ``(2, H, N)`` log-sum-exp of the logits, differentiable; -inf for none.
    expected: ``(2, H, N)`` mean of the logits under their softmax; 0 for none.
    top: ``(2, H, N)`` largest logit; -inf for none.
    total: ``(H, N)`` sum of the positives' logits.
    count: ``(H, N)`` number of positives.
    """

    lse: Tensor
    expected: Tensor
    top: Tensor
    total: Tensor
    count: Tensor

    def contributes(self) -> Tensor:
        """``(H, N)`` bool: rows with a positive."""
        return self.lse[POSITIVES] != -torch.inf

    def loss(self) -> Tensor:
        """``(H, N)``, Eq. 1 of every row: ``log(1 + exp(lse negatives - lse positives))``; 0 without a
        positive.
        """
        negative, positive = self.lse.unbind()
        some = self.contributes()
        return torch.where(some, -logsigmoid(torch.where(some, positive, 0.0) - negative), 0.0)

    def entropy(self) -> Tensor:
        """``(H, N)`` entropy of the softmax over both groups, in nats; 0 for a row without a key."""
        lse = self.lse.detach()
        both = torch.logaddexp(lse[0], lse[1])
        some = both != -torch.inf
        both = torch.where(some, both, 0.0)
        return torch.where(some, both - ((lse - both).exp() * self.expected).sum(0), 0.0)


def merge(*parts: InfoNCEParts) -> InfoNCEParts:
    """Join parts that were computed against different keys: shards of ranks, tiles, a second queue.

    Differentiable in the log-sum-exps. The result is that of one call against all keys.

    Raises:
        ValueError: no part, or parts of different shapes.
    """
    if not parts:
        raise ValueError("merge: give at least one part")
    shapes = {tuple(part.lse.shape) for part in parts}
    if len(shapes) > 1:
        raise ValueError(f"merge: the parts are of different rows: {sorted(shapes)}")
    stacked = InfoNCEParts(*(torch.stack(column) for column in zip(*parts)))
    lse = _logsumexp(stacked.lse)
    whole = lse.detach()
    share = (stacked.lse.detach() - torch.where(whole == -torch.inf, 0.0, whole)).exp()
    return InfoNCEParts(
        lse,
        (share * stacked.expected).sum(0),
        stacked.top.amax(0),
        stacked.total.sum(0),
        stacked.count.sum(0),
    )


def _logsumexp(x: Tensor) -> Tensor:
    """Over the first dimension; -inf, with a zero gradient, where all are -inf."""
    some = (x != -torch.inf).any(0)
    return torch.where(some, torch.where(some, x, 0.0).logsumexp(0), -torch.inf)


def info_nce_parts(
    query: Tensor,
    keys: Tensor,
    *,
    query_video: Tensor,
    key_video: Tensor,
    query_clip: Tensor | None = None,
    key_clip: Tensor | None = None,
    queue: Tensor | None = None,
    temperature: float | Tensor = 0.1,
    valid: Tensor | None = None,
    normalize: bool = True,
    streams: Sequence[str] | None = None,
    check_finite: bool = True,
    statistics: bool = True,
    precision: Precision = "tf32x3",
    backend: Backend = "auto",
) -> InfoNCEParts:
    """`info_nce` before the logarithm is closed: log-sum-exps that `merge` joins with those of other keys.

    Arguments and errors as in `info_nce`; without ``statistics``, ``expected`` holds 0 where no gradient
    asks for it.
    """
    problem = _prepare(
        query,
        keys,
        query_video,
        key_video,
        query_clip,
        key_clip,
        queue,
        temperature,
        valid,
        normalize,
        streams,
        check_finite,
        precision,
    )[0]
    return _parts(problem, statistics, precision, backend)


@overload
def info_nce(
    query: Tensor,
    keys: Tensor,
    *,
    query_video: Tensor,
    key_video: Tensor,
    query_clip: Tensor | None = ...,
    key_clip: Tensor | None = ...,
    queue: Tensor | None = ...,
    temperature: float | Tensor = ...,
    valid: Tensor | None = ...,
    normalize: bool = ...,
    reduction: Reduction = ...,
    return_stats: Literal[False] = ...,
    streams: Sequence[str] | None = ...,
    check_finite: bool = ...,
    precision: Precision = ...,
    backend: Backend = ...,
) -> Tensor: ...


@overload
def info_nce(
    query: Tensor,
    keys: Tensor,
    *,
    query_video: Tensor,
    key_video: Tensor,
    query_clip: Tensor | None = ...,
    key_clip: Tensor | None = ...,
    queue: Tensor | None = ...,
    temperature: float | Tensor = ...,
    valid: Tensor | None = ...,
    normalize: bool = ...,
    reduction: Reduction = ...,
    return_stats: Literal[True],
    streams: Sequence[str] | None = ...,
    check_finite: bool = ...,
    precision: Precision = ...,
    backend: Backend = ...,
) -> tuple[Tensor, InfoNCEStats]: ...


def info_nce(
    query: Tensor,
    keys: Tensor,
    *,
    query_video: Tensor,
    key_video: Tensor,
    query_clip: Tensor | None = None,
    key_clip: Tensor | None = None,
    queue: Tensor | None = None,
    temperature: float | Tensor = 0.1,
    valid: Tensor | None = None,
    normalize: bool = True,
    reduction: Reduction = "mean",
    return_stats: bool = False,
    streams: Sequence[str] | None = None,
    check_finite: bool = True,
    precision: Precision = "tf32x3",
    backend: Backend = "auto",
) -> Tensor | tuple[Tensor, InfoNCEStats]:
    r"""Eq. 1, for H streams at once; with the streams "static" and "dynamic" it is Eq. 22:

    .. math:: \ell_i = -\log \frac{\sum_{j \in P_i} \exp(\mathrm{sim}(q_i, k_j) / \tau)}
                                  {\sum_{j \notin E_i} \exp(\mathrm{sim}(q_i, k_j) / \tau)}

    with :math:`P_i` the keys of the same video that are another clip, :math:`E_i` the keys that are the
    same clip, and sim the cosine. The sum over positives is inside the logarithm; there may be any number.

    Args:
        query: ``(H, N, D)``, float32, float64, float16 or bfloat16, contiguous or not.
        keys: ``(H, K, D)``, same dtype and device; gets a gradient if it wants one.
        query_video, key_video: ``(N,)`` and ``(K,)`` integers; equal ids are positives.
        query_clip, key_clip: ``(N,)`` and ``(K,)`` integers; equal ids are excluded. Both or neither.
        queue: ``(H, Q, D)``, further negatives for every row, without a gradient: a memory bank.
        temperature: tau > 0, a number or a tensor of one or H, learnable if it requires a gradient.
        valid: ``(H, N)`` bool; False rows count neither as query nor, where ``keys is query``, as key. A
            valid row that is left without a positive contributes 0.
        normalize: compare directions (cosines); False compares the vectors as they are (dot products). A
            vector not longer than 1e-12 has no direction: it is left out as query and as key.
        reduction: "mean" over each stream's contributing rows; "sum"; "none".
        return_stats: also return `InfoNCEStats`, which cost no further pass over the keys.
        streams: names of the streams for error messages.
        check_finite: raise for NaN, infinity, or a tensor of temperatures that are not positive; on a GPU
            this waits for the device. Otherwise the loss of that stream is NaN.
        precision: products of float32 tensors in the fused GPU kernels: "tf32x3" is accurate to about
            float32, "tf32" and "bf16" are faster and off by up to 2e-3 and 2e-2 in a logit at tau 0.07,
            "ieee" uses no matrix unit. Sums are float32 in any case.
        backend: "auto" chooses by size; "triton" (fused, GPU), "chunked" (blocks of rows), "torch" (the
            matrix; twice differentiable), also known as "reference".

    Returns:
        ``(H,)`` for "mean" and "sum", one loss per stream; ``(H, N)`` for "none". float32, or float64 for
        float64. With ``return_stats``, ``(loss, stats)``.

    Raises:
        TypeError: query, keys or queue are no floating-point tensors.
        ValueError: shapes, dtypes or devices that do not fit; ids of the wrong length or type; a temperature
            that is not positive; values that are not finite; an unknown option.
        bodvcl.ops.backend.BackendError: the backend named cannot serve the call.
    """
    check.one_of("info_nce", "reduction", reduction, ("mean", "sum", "none"))
    problem, empty = _prepare(
        query,
        keys,
        query_video,
        key_video,
        query_clip,
        key_clip,
        queue,
        temperature,
        valid,
        normalize,
        streams,
        check_finite,
        precision,
    )
    parts = _parts(problem, return_stats, precision, backend)
    loss = _reduce(parts.loss(), parts.contributes(), reduction)
    return (loss, _stats(parts, problem.scale.detach(), empty)) if return_stats else loss


def _prepare(
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
    precision: str,
) -> tuple[Problem, Tensor]:
    """The checked call, and the number of valid rows without a direction per stream."""
    op = "info_nce"
    check.check_pair(op, query, keys)
    ids = {
        "query_video": query_video,
        "key_video": key_video,
        "query_clip": query_clip,
        "key_clip": key_clip,
    }
    check.check_ids(op, query, keys, ids)
    check.check_valid(op, query, valid)
    check.one_of(op, "precision", precision, ("tf32x3", "tf32", "ieee", "bf16"))
    if queue is not None:
        check.check_pair(op, query, queue, "queue", "Q")
        queue = queue.detach()
    tau = check.as_temperature(op, temperature, query)
    names = check.stream_names(op, streams, query.shape[0])

    def factors(x: Tensor, name: str, temperatures: Tensor | None = None) -> Tensor:
        return inverse_norms_op(x.detach(), temperatures, normalize, check_finite, name, names)

    learned = tau.detach() if isinstance(temperature, Tensor) else None
    query_inverse = factors(query, "query", learned)
    lengths = query_inverse if valid is None else torch.where(valid, query_inverse, 1.0)
    empty = (lengths == 0).sum(-1).to(tau.dtype)
    if valid is not None:
        query_inverse = torch.where(valid, query_inverse, 0.0)
    problem = Problem(
        query,
        keys,
        queue,
        query_inverse,
        query_inverse if keys is query else factors(keys, "keys"),
        None if queue is None else factors(queue, "queue"),
        torch.where(tau > 0, 1 / tau, torch.nan),
        *(None if x is None else x.long() for x in ids.values()),
        normalize,
    )
    return problem, empty


def _parts(problem: Problem, statistics: bool, precision: str, backend: str) -> InfoNCEParts:
    query, keys, queue = problem.query, problem.keys, problem.queue
    request = ContrastiveRequest(
        query.device.type,
        query.dtype,
        query.shape[0],
        query.shape[1],
        keys.shape[1] + (0 if queue is None else queue.shape[1]),
        query.shape[2],
    )
    route = choose_contrastive(backend, request)
    if route == "torch":
        with torch.autocast(query.device.type, enabled=False):
            rows = eager(problem)
    else:
        wants = any(x.requires_grad for x in (query, keys, problem.scale)) and torch.is_grad_enabled()
        means = statistics or wants or active()
        run = fused
        if needs_eager():
            from bodvcl.ops.contrastive.uncompiled import fused_eagerly as run
        rows = run(problem, route, precision, means)
    side = rows.detach()
    return InfoNCEParts(rows[LSE], side[EXPECTED], side[TOP], side[SUM, POSITIVES], side[COUNT, POSITIVES])


def _reduce(loss: Tensor, contributes: Tensor, reduction: str) -> Tensor:
    if reduction == "none":
        return loss
    total = loss.sum(-1)
    return total if reduction == "sum" else total / contributes.sum(-1).clamp_min(1)


def _stats(parts: InfoNCEParts, scale: Tensor, empty: Tensor) -> InfoNCEStats:
    some = parts.contributes()
    rows = some.sum(-1).to(scale.dtype)

    def mean(values: Tensor) -> Tensor:
        return torch.where(some, values, 0.0).sum(-1) / rows.clamp_min(1)

    similarity = parts.total / parts.count.clamp_min(1) / scale[:, None]
    top1 = (parts.top[POSITIVES] > parts.top[1 - POSITIVES]).to(scale.dtype)
    return InfoNCEStats(mean(similarity), mean(top1), mean(parts.entropy()), rows, empty)


def negative_cosine(
    prediction: Tensor,
    target: Tensor,
    *,
    valid: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """V-BYOL's loss (Eq. 4) of H streams: minus the cosine of a prediction and its target.

    Args:
        prediction: ``(H, N, D)``, floating point.
        target: ``(H, N, D)``, same dtype and device; gets no gradient.
        valid: ``(H, N)`` bool, False for rows that do not count.
        reduction: "mean" over each stream's contributing rows; "sum"; "none".

    Returns:
        ``(H,)``, or ``(H, N)`` for "none"; float32, or float64 for float64. A row that is not valid, or
        where either vector is zero (no longer than 1e-12), contributes 0 and gets no gradient.

    Raises:
        TypeError, ValueError: as `info_nce`.
    """
    op = "negative_cosine"
    check.one_of(op, "reduction", reduction, ("mean", "sum", "none"))
    check.check_pair(op, prediction, target, "target", "N")
    if prediction.shape != target.shape:
        raise ValueError(
            f"{op}: prediction {tuple(prediction.shape)} and target {tuple(target.shape)} must have one shape"
        )
    check.check_valid(op, prediction, valid)
    wide = torch.promote_types(prediction.dtype, torch.float32)
    with torch.autocast(prediction.device.type, enabled=False):
        pair = prediction.to(wide), target.detach().to(wide)
        some = torch.stack([x.detach().norm(dim=-1) for x in pair]).amin(0)
        some = ~(some <= NO_DIRECTION) if valid is None else valid & ~(some <= NO_DIRECTION)
        unit = [normalize(torch.where(some[..., None], x, 1.0), dim=-1) for x in pair]
        loss = torch.where(some, -(unit[0] * unit[1]).sum(-1), 0.0)
    return _reduce(loss, some, reduction)
