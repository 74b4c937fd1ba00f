"""From the embeddings of a batch to its streams and to L_pred: functions without parameters and state."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from bodvcl.config.schema import KoopmanConfig, PredictionConfig
from bodvcl.models.streams import (
    SplitOutput,
    comparable,
    koopman_streams,
    prediction_loss,
    video_stream,
)


@dataclass(frozen=True)
class LossOptions:
    """What the losses of a batch take from the configuration of a run.

    Attributes:
        views: rho, clips per video.
        decouple: "none", "pred" or "bod".
        koopman: options of the Koopman estimation and split.
        prediction: options of L_pred.
        dynamic_weight: weight of the loss of the stream "dynamic"; all others have 1.
        lower_share: share of the videos, the first ones, that L_pred is computed on; in (0, 1].
        fast: True: fused operators; False: the paper's formulas.
    """

    views: int
    decouple: str
    koopman: KoopmanConfig
    prediction: PredictionConfig
    dynamic_weight: float = 1.0
    lower_share: float = 1.0
    fast: bool = True


def split(embeddings: Tensor, options: LossOptions, with_lower: bool) -> SplitOutput:
    """The streams of a method as its contrastive loss compares them.

    Args:
        embeddings: ``(N, T, M)`` per-frame embeddings.
        options: what to compute.
        with_lower: with "bod", also L_pred, from the same Gram matrices.
    """
    if options.decouple != "bod":
        return video_stream(embeddings)
    streams = koopman_streams(
        embeddings, options.koopman, options.prediction if with_lower else None, fast=options.fast
    )
    return comparable(streams, options.koopman)


def predict(embeddings: Tensor, options: LossOptions, twice: bool) -> Tensor:
    """L_pred (Eq. 19), a scalar.

    Args:
        embeddings: ``(N, T, M)`` per-frame embeddings.
        options: what to compute.
        twice: use operators that can be differentiated twice.
    """
    return prediction_loss(embeddings, options.koopman, options.prediction, fast=options.fast, twice=twice)


class LossFunctions(NamedTuple):
    """How a problem computes the two; compiled functions have the same arguments.

    Attributes:
        split: :func:`split`.
        predict: :func:`predict`, where it is differentiated once.
    """

    split: Callable[[Tensor, LossOptions, bool], SplitOutput]
    predict: Callable[[Tensor, LossOptions, bool], Tensor]


PLAIN = LossFunctions(split, predict)
