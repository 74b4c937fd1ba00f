"""Stream splitters: per-frame embeddings to the named embeddings that an objective compares.

An objective never knows about Koopman, and Koopman never knows about an objective: this is where they meet.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, normalize

from bodvcl.config.schema import KoopmanConfig, PredictionConfig
from bodvcl.ops.koopman import KoopmanSplit, koopman_prediction_loss, koopman_split, koopman_split_and_loss


def stream_names(decouple: str) -> tuple[str, ...]:
    """Names of the streams of ``decouple`` "none", "pred" or "bod", in order."""
    return ("static", "dynamic") if decouple == "bod" else ("video",)


class Streams(NamedTuple):
    """What one forward pass gives to the losses.

    Attributes:
        embeddings: stream name to ``(N, M)``; ``{"video"}`` or ``{"static", "dynamic"}``.
        lower: L_pred, a scalar; None where it was not asked for.
        diagnostics: name to a scalar tensor without gradient, for the log.
        split: what the streams were made from; None for the plain method.
    """

    embeddings: dict[str, Tensor]
    lower: Tensor | None
    diagnostics: dict[str, Tensor]
    split: KoopmanSplit | None = None


def video_stream(embeddings: Tensor) -> Streams:
    """The plain method: ``{"video": mean(F)}`` of per-frame embeddings ``(N, T, M)``."""
    return Streams({"video": embeddings.mean(1)}, None, {})


def koopman_streams(
    embeddings: Tensor, koopman: KoopmanConfig, prediction: PredictionConfig | None, *, fast: bool = True
) -> Streams:
    """BOD-VCL: ``{"static": Z_A, "dynamic": Z_M}`` (Eq. 21) and, where ``prediction`` is given, L_pred
    (Eq. 19).

    Args:
        embeddings: ``(N, T, M)`` per-frame embeddings.
        koopman: estimation and split.
        prediction: the lower-level loss, from the same Gram matrix; None: not computed.
        fast: fused operators; False: the paper's formulas.
    """
    frames = _frames(embeddings, koopman, fast)
    split_options = {
        "xi": koopman.xi,
        "mask": koopman.mask,
        "smooth_power": koopman.smooth_power,
        "weights": koopman.weights,
        "max_gain": koopman.max_gain,
        **_estimation(koopman, fast),
    }
    if prediction is None:
        split, lower = koopman_split(frames, **split_options), None
    else:
        split, losses = koopman_split_and_loss(
            frames, mode=prediction.mode, nu=prediction.nu, **split_options
        )
        lower = losses.pred
    diagnostics = {
        "static_modes": split.static_modes.mean(),
        "empty_static": _share_of_empty(split.static),
        "empty_dynamic": _share_of_empty(split.dynamic),
    }
    return Streams({"static": split.static, "dynamic": split.dynamic}, lower, diagnostics, split)


def prediction_loss(
    embeddings: Tensor,
    koopman: KoopmanConfig,
    prediction: PredictionConfig,
    *,
    fast: bool = True,
    twice: bool = False,
) -> Tensor:
    """L_pred (Eq. 19), a scalar, of per-frame embeddings ``(N, T, M)``.

    With ``twice`` by the route in plain PyTorch, which can be differentiated twice.
    """
    options = _estimation(koopman, fast)
    if twice:
        options["backend"] = "torch"
    return koopman_prediction_loss(
        _frames(embeddings, koopman, fast), mode=prediction.mode, nu=prediction.nu, **options
    )


def _frames(embeddings: Tensor, koopman: KoopmanConfig, fast: bool) -> Tensor:
    """Frames as the operator is fitted on them. The paper's formulas need float64: in float32 their gradient
    through the eigenvectors is off by up to 10%."""
    embeddings = embeddings.to(
        torch.promote_types(embeddings.dtype, torch.float32 if fast else torch.float64)
    )
    return normalize(embeddings, dim=-1) if koopman.normalize else embeddings


def _estimation(koopman: KoopmanConfig, fast: bool) -> dict[str, object]:
    return {
        "rtol": koopman.rtol,
        "ridge": koopman.ridge,
        "rank": koopman.rank,
        "backend": "auto" if fast else "reference",
    }


@torch.no_grad()
def stream_health(streams: Streams, views: int) -> dict[str, Tensor]:
    """What the embeddings of a batch look like, from what a pass left behind; scalars by name.

    Per stream: ``mean_cosine_*`` between clips of different videos, 1 where all have collapsed to one point;
    ``effective_rank_*``, the exponential of the entropy of the singular values of the unit embeddings (Roy
    and Vetterli 2007), between 1 and min(N, M). ``stream_cosine``: mean over clips of the cosine between Z_A
    and Z_M, 1 where the split does not separate anything.

    Of the operators: ``circle_distance``, mean of ``| 1 - |lambda| |`` over the eigenvalues that were kept,
    how fast what was seen decays or grows; ``split_margin``, mean over clips of the distance of the
    nearest eigenvalue to the mask's circle (hard mask: how far the split is from a jump) or to 1 (smooth).

    Args:
        streams: of N clips, those of one video next to each other.
        views: clips per video.
    """
    health = {}
    for name, z in streams.embeddings.items():
        u = normalize(z.nan_to_num(posinf=0.0, neginf=0.0), dim=-1)
        health[f"mean_cosine_{name}"] = _mean_cosine(u.unflatten(0, (-1, views)))
        health[f"effective_rank_{name}"] = _effective_rank(u)
    if streams.split is not None:
        alike = cosine_similarity(streams.split.static, streams.split.dynamic, dim=-1)
        health["stream_cosine"] = alike.nan_to_num().mean()
        radius = streams.split.eigenvalues().abs()
        kept = torch.arange(radius.shape[-1], device=radius.device) < streams.split.rank[..., None]
        off = torch.where(kept, (1 - radius).abs(), 0.0)
        health["circle_distance"] = off.sum() / kept.sum().clamp_min(1)
        margin = streams.split.distance()
        some = torch.isfinite(margin)
        health["split_margin"] = torch.where(some, margin, 0.0).sum() / some.sum().clamp_min(1)
    return health


def _mean_cosine(u: Tensor) -> Tensor:
    """Mean dot product of unit (or zero, left out) vectors ``(B, V, M)`` of different videos."""
    counts = (u.abs().amax(-1) > 0).to(u.dtype).sum(1)
    pairs = counts.sum().square() - counts.square().sum()
    total = u.sum((0, 1)).square().sum() - u.sum(1).square().sum()
    return total / pairs.clamp_min(1)


def _effective_rank(u: Tensor) -> Tensor:
    values = torch.linalg.svdvals(u)
    return torch.distributions.Categorical(values + torch.finfo(u.dtype).tiny).entropy().exp()


def _share_of_empty(stream: Tensor) -> Tensor:
    return (stream.detach().abs().amax(-1) == 0).float().mean()
