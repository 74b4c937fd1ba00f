"""Stream splitters: per-frame embeddings to the named embeddings that an objective compares.

Koopman and objectives meet here and nowhere else. This is also the one place where the Koopman options of a
run become arguments of :mod:`bodvcl.ops.koopman`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypedDict

import torch
from torch import Tensor
from torch.nn.functional import normalize

from bodvcl.config.schema import KoopmanConfig, PredictionConfig
from bodvcl.config.streams import dynamic_stream, static_stream
from bodvcl.ops.distributed import sum_over_ranks, world_size
from bodvcl.ops.koopman import KoopmanSplit, koopman_prediction_loss, koopman_split, koopman_split_and_loss
from bodvcl.ops.koopman.spec import Backend, Mask, Pool, Weights

_EPS = 1e-6
"""Added to a standard deviation over the batch, so that a feature without any stays finite."""


def stream_names(decouple: str) -> tuple[str, ...]:
    """Names of the streams, in order.

    Args:
        decouple: "none", "pred" or "bod".
    """
    return ("static", "dynamic") if decouple == "bod" else ("video",)


class SplitOutput(NamedTuple):
    """What a splitter makes of the embeddings of N clips.

    Attributes:
        embeddings: stream name to ``(N, M)``; the names are "video", or "static" and "dynamic".
        lower: L_pred, a scalar; None: not requested.
        diagnostics: scalars by name, without gradient, for the log.
        split: result of the Koopman split; None for the plain method.
    """

    embeddings: dict[str, Tensor]
    lower: Tensor | None
    diagnostics: dict[str, Tensor]
    split: KoopmanSplit | None = None

    def mapped(self, change: Callable[[Tensor], Tensor]) -> SplitOutput:
        """The same with ``change`` applied to every tensor, to copy it for example."""
        return SplitOutput(
            {name: change(z) for name, z in self.embeddings.items()},
            None if self.lower is None else change(self.lower),
            {name: change(x) for name, x in self.diagnostics.items()},
            None if self.split is None else KoopmanSplit(*(change(x) for x in self.split)),
        )


def video_stream(embeddings: Tensor) -> SplitOutput:
    """The plain method: ``{"video": mean(F)}`` of per-frame embeddings ``(N, T, M)``."""
    return SplitOutput({"video": embeddings.mean(1)}, None, {})


def koopman_streams(
    embeddings: Tensor, koopman: KoopmanConfig, prediction: PredictionConfig | None, *, fast: bool = True
) -> SplitOutput:
    """BOD-VCL: ``{"static": Z_A, "dynamic": Z_M}`` (Eq. 21) and, with ``prediction``, L_pred (Eq. 19).

    Unless ``koopman.dynamic`` is "mean", Z_M is the standard deviation over time of the dynamic parts of the
    frames. All of its entries are positive: :func:`comparable` prepares it for a contrastive loss. Z_A is
    then ``mean(F)`` of the frames that the operator is fitted to, unless ``koopman.static`` is "part".

    Args:
        embeddings: ``(N, T, M)`` per-frame embeddings.
        koopman: options of the estimation and the split.
        prediction: options of L_pred, which is computed from the same Gram matrix; None: no L_pred.
        fast: True: fused operators; False: the paper's formulas.
    """
    frames = _frames(embeddings, koopman, fast)
    options = _split_options(koopman, fast)
    if prediction is None:
        split, lower = koopman_split(frames, **options), None
    else:
        split, losses = koopman_split_and_loss(frames, mode=prediction.mode, nu=prediction.nu, **options)
        lower = losses.pred
    static = split.static if static_stream(koopman) == "part" else frames.mean(1)
    diagnostics = {
        "static_modes": split.static_modes.mean(),
        **dict(zip(("empty_static", "empty_dynamic"), _shares_of_empty(static, split.dynamic))),
    }
    return SplitOutput({"static": static, "dynamic": split.dynamic}, lower, diagnostics, split)


def comparable(streams: SplitOutput, koopman: KoopmanConfig) -> SplitOutput:
    """The streams as a contrastive loss compares them.

    A dynamic stream of standard deviations has positive entries only, so that all pairs of clips are alike.
    It is standardised, ``(d - mean) / std`` of every feature over the clips of all ranks. A clip without
    motion, whose row is zero, stays zero and is an empty stream. Any other stream is left as it is.

    Args:
        streams: of the clips of this rank, as many as on any other.
        koopman: options of the split that made them.
    """
    if dynamic_stream(koopman) != "std":
        return streams
    spread = streams.embeddings["dynamic"]
    centred = spread - _mean_over_ranks(spread.mean(0))
    deviation = (_mean_over_ranks(centred.square().mean(0)) + _EPS**2).sqrt()
    standardised = torch.where((spread == 0).all(-1, keepdim=True), 0.0, centred / deviation)
    return streams._replace(embeddings={**streams.embeddings, "dynamic": standardised})


def _mean_over_ranks(x: Tensor) -> Tensor:
    return x if world_size() == 1 else sum_over_ranks(x) / world_size()


def prediction_loss(
    embeddings: Tensor,
    koopman: KoopmanConfig,
    prediction: PredictionConfig,
    *,
    fast: bool = True,
    twice: bool = False,
) -> Tensor:
    """L_pred (Eq. 19), a scalar.

    Args:
        embeddings: ``(N, T, M)`` per-frame embeddings.
        koopman: options of the estimation.
        prediction: options of L_pred.
        fast: True: fused operators; False: the paper's formulas.
        twice: use plain PyTorch operators, which can be differentiated twice.
    """
    options = _estimation_options(koopman, fast)
    if twice:
        options["backend"] = "torch"
    frames = _frames(embeddings, koopman, fast)
    return koopman_prediction_loss(frames, mode=prediction.mode, nu=prediction.nu, **options)


class _EstimationOptions(TypedDict):
    rtol: float | None
    ridge: float
    rank: int | None
    backend: Backend


class _SplitOptions(_EstimationOptions):
    xi: float
    mask: Mask
    smooth_power: int
    weights: Weights
    pool: Pool
    max_gain: float | None


def _estimation_options(koopman: KoopmanConfig, fast: bool) -> _EstimationOptions:
    return {
        "rtol": koopman.rtol,
        "ridge": koopman.ridge,
        "rank": koopman.rank,
        "backend": "auto" if fast else "reference",
    }


def _split_options(koopman: KoopmanConfig, fast: bool) -> _SplitOptions:
    return {
        "xi": koopman.xi,
        "mask": koopman.mask,
        "smooth_power": koopman.smooth_power,
        "weights": koopman.weights,
        "pool": dynamic_stream(koopman),
        "max_gain": koopman.max_gain,
        **_estimation_options(koopman, fast),
    }


def _frames(embeddings: Tensor, koopman: KoopmanConfig, fast: bool) -> Tensor:
    """The frames that the operator is fitted to. The paper's formulas need float64: in float32 their gradient
    through the eigenvectors has an error of up to 10%."""
    embeddings = embeddings.to(
        torch.promote_types(embeddings.dtype, torch.float32 if fast else torch.float64)
    )
    return normalize(embeddings, dim=-1) if koopman.normalize else embeddings


def _shares_of_empty(*streams: Tensor) -> tuple[Tensor, ...]:
    """The share of the clips of each stream ``(N, M)`` whose embedding is zero."""
    largest: Tensor = torch.linalg.vector_norm(torch.stack(streams).detach(), torch.inf, -1)
    return (largest == 0).float().mean(-1).unbind()
