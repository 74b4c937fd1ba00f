"""The numbers S whose Grad-CAM is drawn: what is asked when one asks where an encoder looks.

With h_t the backbone's feature of frame t, g the projector, x' another clip of the same video, and Z_A and
Z_M the static and the dynamic stream of the embeddings g(h_t) (Eq. 21, with the run's own Koopman options):

- ``class``: ``S_c = w_c . mean_t h_t + b_c``, the score of a class under a linear probe
  (:class:`bodvcl.evaluate.classifiers.LinearProbe`);
- ``match``: ``S = cos(e(x), e(x'))`` with ``e(x) = mean_t g(h_t)``. That is the question of the plain
  contrastive loss: what makes two clips of one video alike?
- ``static``: ``S = cos(Z_A(x), Z_A(x'))``, the same question put to the static stream;
- ``dynamic``: ``S = |Z_M(x)|^2``, the size of the dynamic stream: what changes?

``x'`` is a constant: no gradient runs into it. Where it has the same frames as ``x``, S is at its maximum of
1 and its gradient is zero.
"""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

from bodvcl.config.schema import KoopmanConfig
from bodvcl.figures.options import CamOf
from bodvcl.models.encoder import VideoEncoder
from bodvcl.models.streams import koopman_streams

Score = Callable[[Tensor], Tensor]
"""Per-frame features ``(N, T, D)`` of the backbone to S ``(N,)``."""

PER_FRAME: frozenset[CamOf] = frozenset({"dynamic"})
"""Scores that only depend on change: their weights are taken per frame."""

COMPARING: frozenset[CamOf] = frozenset({"match", "static"})
"""Scores that compare two clips of a video."""


def class_score(weights: Tensor, biases: Tensor) -> Score:
    """S of one class per clip.

    Args:
        weights: ``(N, D)`` float, of the class of each clip, or ``(D,)`` of one class for all.
        biases: ``(N,)``, or a scalar.
    """
    return lambda frames: (frames.mean(1) * weights.to(frames)).sum(-1) + biases.to(frames)


def match_score(encoder: VideoEncoder, other: Tensor) -> Score:
    """Cosine similarity of the mean embeddings.

    Args:
        encoder: the encoder whose projector is used.
        other: per-frame features ``(N, T, D)`` of the other clips.
    """
    return _similarity(lambda frames: encoder.project(frames).mean(1), other)


def static_score(encoder: VideoEncoder, koopman: KoopmanConfig, other: Tensor) -> Score:
    """Cosine similarity of the static streams.

    Args:
        encoder: the encoder whose projector is used.
        koopman: estimation and split of the streams.
        other: per-frame features ``(N, T, D)`` of the other clips.
    """
    return _similarity(lambda frames: _streams(encoder, koopman, frames)["static"], other)


def dynamic_score(encoder: VideoEncoder, koopman: KoopmanConfig) -> Score:
    """Squared norm of the dynamic stream.

    Args:
        encoder: the encoder whose projector is used.
        koopman: estimation and split of the streams.
    """
    return lambda frames: _streams(encoder, koopman, frames)["dynamic"].square().sum(-1)


def _streams(encoder: VideoEncoder, koopman: KoopmanConfig, frames: Tensor) -> dict[str, Tensor]:
    return koopman_streams(encoder.project(frames), koopman, None).embeddings


def _similarity(embed: Callable[[Tensor], Tensor], other: Tensor) -> Score:
    fixed = embed(other).detach()
    return lambda frames: F.cosine_similarity(embed(frames), fixed, dim=-1)
