"""L_pred and the contrastive loss of one batch: the two levels that a bi-level solver works on."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from bodvcl.bilevel.problem import Params
from bodvcl.engine.learner import Learner
from bodvcl.engine.losses import PLAIN, LossFunctions, LossOptions, predict
from bodvcl.engine.replay import Replay
from bodvcl.models.backbones.vit import attention_route
from bodvcl.models.streams import SplitOutput
from bodvcl.objectives.base import ClipObjective, ObjectiveInput


class BatchProblem:
    """Both losses of one batch of clips, as functions of the learner's parameters.

    All passes over the batch see the same random draws, and BatchNorm statistics advance once
    (:class:`~bodvcl.engine.replay.Replay`).

    Args:
        learner: encoder and objective; the parameters given to a call replace its own.
        clips: ``(N, 3, L, H, W)``, sorted by video.
        videos: ``(N,)`` integers, the video that each row is a clip of.
        options: what to compute.
        autocast: dtype of the backbone's arithmetic in the upper level; None: the dtype of the weights.
        lower_autocast: the same for the lower level; finite differences need None.
        health: keep the streams, so that :func:`~bodvcl.models.stream_health.stream_health` can describe
            them, and add the diagnostics of the objective to the log.
        functions: streams and L_pred of embeddings, perhaps compiled.

    Attributes:
        head: names of the projector's parameters.
        keys: stream name to ``(N, M)`` of the momentum encoder, for the objective to remember; empty before
            the first upper pass, and without momentum encoder.
        log: losses and diagnostics of the last upper pass, without gradient.
        streams: streams of the last upper pass, with ``health``; else None.
        replay: runs the passes; it can restore the learner's buffers and the random draws.
    """

    def __init__(
        self,
        learner: Learner,
        clips: Tensor,
        videos: Tensor,
        options: LossOptions,
        autocast: torch.dtype | None,
        *,
        lower_autocast: torch.dtype | None = None,
        health: bool = False,
        functions: LossFunctions = PLAIN,
    ) -> None:
        self.learner, self.clips, self.videos = learner, clips, videos
        self.options, self.autocast, self.health = options, autocast, health
        self.lower_autocast, self.functions = lower_autocast, functions
        self.head = frozenset(f"encoder.{name}" for name in learner.encoder.head_names())
        self.keys: dict[str, Tensor] = {}
        self.log: dict[str, Tensor] = {}
        self.streams: SplitOutput | None = None
        self.replay = Replay(learner, clips.device)

    def features(self, params: Params) -> Tensor:
        """``(N, T, D)``, features of the backbone alone, in the arithmetic of the upper level."""
        with self._arithmetic(self.autocast):
            return self.replay.run(
                params, ("encoder.backbone",), lambda learner: learner.encoder.frames(self.clips)
            )

    def lower(self, params: Params, features: Tensor | None = None, *, twice: bool = False) -> Tensor:
        """L_pred (Eq. 19), a scalar, in the arithmetic of the lower level.

        A pass over a share of the clips, or through the strict network, does not change the buffers.

        Args:
            params: parameters of the learner, by name.
            features: features of the backbone to start from; None: compute them.
            twice: use operators that can be differentiated twice.
        """
        rows = self._lower_rows()
        with attention_route(twice):
            if self.options.prediction.strict and features is None:
                embeddings = self._embed_strict(params, _first(self.clips, rows))
            else:
                embeddings = self._embed(params, features, self.lower_autocast, rows)
        return self._predict(embeddings, twice)

    def upper(self, params: Params, features: Tensor | None = None) -> Tensor:
        """The contrastive losses, added up over streams (Eq. 22, or Eq. 1 for the plain method).

        Args:
            params: parameters of the learner, by name.
            features: as in :meth:`lower`.
        """
        if isinstance(self.learner.objective, ClipObjective):
            return self._contrast_clips(params, self.learner.objective)
        embeddings = self._embed(params, features, self.autocast)
        return self._contrast(params, self._split(embeddings, with_lower=False))

    def both(self, params: Params, features: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(lower, upper) from one pass; ``features`` as in :meth:`lower`."""
        embeddings = self._embed(params, features, self.autocast)
        rows = self._lower_rows()
        if self.options.decouple == "bod" and rows == len(self.clips):
            streams = self._split(embeddings, with_lower=True)
            assert streams.lower is not None
            return streams.lower, self._contrast(params, streams)
        lower = self._predict(_first(embeddings, rows), False)
        return lower, self._contrast(params, self._split(embeddings, with_lower=False))

    def _lower_rows(self) -> int:
        """Number of clips of the first ``lower_share`` of the videos."""
        views = self.options.views
        return math.ceil(self.options.lower_share * (len(self.clips) // views)) * views

    def _predict(self, embeddings: Tensor, twice: bool) -> Tensor:
        compute = predict if twice else self.functions.predict
        return compute(embeddings, self.options, twice)

    def _split(self, embeddings: Tensor, with_lower: bool) -> SplitOutput:
        return self.functions.split(embeddings, self.options, with_lower)

    def _contrast(self, params: Params, streams: SplitOutput) -> Tensor:
        batch = ObjectiveInput(streams.embeddings, self.videos, self.options.views, self._targets())
        losses: dict[str, Tensor] = self.replay.run(
            params, ("objective",), lambda learner: learner.objective(batch)
        )
        return self._logged(losses, streams)

    def _contrast_clips(self, params: Params, objective: ClipObjective) -> Tensor:
        views = self.options.views

        def compute(learner: Learner) -> tuple[dict[str, Tensor], Tensor]:
            found: tuple[dict[str, Tensor], Tensor] = objective(
                learner.encoder, self.clips, self.videos, views
            )
            return found

        with self._arithmetic(self.autocast):
            losses, embeddings = self.replay.run(params, ("encoder", "objective"), compute)
        return self._logged(losses, SplitOutput({"video": embeddings}, None, {}))

    def _logged(self, losses: dict[str, Tensor], streams: SplitOutput) -> Tensor:
        self.log = {f"loss_{name}": loss.detach() for name, loss in losses.items()} | streams.diagnostics
        if self.health:
            self.streams = streams.mapped(Tensor.detach)
            self.log |= self.learner.objective.diagnostics()
        weights = {"dynamic": self.options.dynamic_weight}
        return torch.stack([weights.get(name, 1.0) * loss for name, loss in losses.items()]).sum()

    @torch.no_grad()
    def _targets(self) -> dict[str, Tensor] | None:
        """Streams of the momentum encoder, which passes over the batch once, at the first call."""
        if self.learner.target is None:
            return None
        if not self.keys:
            with self._arithmetic(self.autocast), self.replay.random_draws():
                embeddings = self.learner.targets(self.clips)
            self.keys = self._split(_wide(embeddings), with_lower=False).embeddings
        return self.keys

    def _embed_strict(self, params: Params, clips: Tensor) -> Tensor:
        with self._arithmetic(self.lower_autocast):
            return _wide(self.replay.run_strict(params, clips))

    def _embed(
        self, params: Params, features: Tensor | None, autocast: torch.dtype | None, rows: int | None = None
    ) -> Tensor:
        """``(N, T, M)`` of the first ``rows`` clips, float32 or wider."""
        rows = len(self.clips) if rows is None else rows
        whole = rows == len(self.clips)
        with self._arithmetic(autocast):
            if features is None:
                clips = _first(self.clips, rows)
                return _wide(self.replay.run(params, ("encoder",), _encode(clips), advance=whole))
            features = _first(features, rows)
            given = features if autocast is not None else _wide(features)
            return _wide(self.replay.run(params, ("encoder.projector",), _project(given), advance=whole))

    @contextmanager
    def _arithmetic(self, dtype: torch.dtype | None) -> Iterator[None]:
        with torch.autocast(self.clips.device.type, dtype, enabled=dtype is not None):
            yield


def _encode(clips: Tensor) -> Callable[[Learner], Tensor]:
    def compute(learner: Learner) -> Tensor:
        embeddings: Tensor = learner.encoder(clips)
        return embeddings

    return compute


def _project(features: Tensor) -> Callable[[Learner], Tensor]:
    return lambda learner: learner.encoder.project(features)


def _first(x: Tensor, rows: int) -> Tensor:
    return x if rows == len(x) else x[:rows]


def _wide(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))
