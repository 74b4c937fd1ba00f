"""Both levels' losses of one batch, as a bi-level solver wants them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.func import functional_call

from bodvcl.bilevel.solvers import Params
from bodvcl.config.schema import TrainConfig
from bodvcl.engine.learner import Learner
from bodvcl.models.backbones.vit import attention_route
from bodvcl.models.streams import Streams, koopman_streams, prediction_loss, stream_health, video_stream
from bodvcl.models.strict import central_slice
from bodvcl.objectives.base import ClipObjective, StreamBatch

Result = TypeVar("Result")


class BatchProblem:
    """L_pred and the contrastive loss of one batch of clips, as functions of the learner's parameters.

    A module's first pass updates its buffers (BatchNorm statistics); later passes work on copies, so that
    the buffers advance once per step. Every pass starts from the same random state.

    Args:
        learner: encoder and objective; the parameters that a call is given take the place of its own.
        clips: ``(N, 3, L, H, W)``.
        videos: ``(N,)`` integers: which video a row is a clip of.
        config: what to compute, and how.
        autocast: dtype of the backbone's arithmetic in the upper level; None: that of the weights.
        lower_autocast: likewise in a lower level of its own; finite differences need None.
        health: put :func:`~bodvcl.models.streams.stream_health` into the log; it waits for the device.

    Attributes:
        head: names of the projector's parameters.
        keys: stream name to ``(N, M)`` of the momentum encoder, what the objective may remember of this
            batch; empty before the first upper pass, and where there is no such encoder.
        log: losses and diagnostics of the last upper pass, without gradient.
    """

    def __init__(
        self,
        learner: Learner,
        clips: Tensor,
        videos: Tensor,
        config: TrainConfig,
        autocast: torch.dtype | None,
        *,
        lower_autocast: torch.dtype | None = None,
        health: bool = False,
    ) -> None:
        self.learner, self.clips, self.videos = learner, clips, videos
        self.config, self.autocast, self.health = config, autocast, health
        self.lower_autocast = lower_autocast
        self.head = frozenset(f"encoder.{name}" for name in learner.encoder.head_names())
        self.keys: dict[str, Tensor] = {}
        self.log: dict[str, Tensor] = {}
        self._advanced: set[str] = set()
        self._buffers_before = {name: b.clone() for name, b in learner.pass_buffers().items()}
        self._random = _random_state(clips.device)

    def features(self, params: Params) -> Tensor:
        """``(N, T, D)`` of the backbone alone, in the upper level's arithmetic."""
        with self._arithmetic(self.autocast):
            return self._call(
                params, ("encoder.backbone",), lambda learner: learner.encoder.frames(self.clips)
            )

    def lower(self, params: Params, features: Tensor | None = None, *, twice: bool = False) -> Tensor:
        """L_pred (Eq. 19), in the lower level's arithmetic: finite differences in bfloat16 are noise.

        A pass over a share of the clips, or through the strict network, leaves the buffers alone.

        Args:
            params: of the learner, by name.
            features: start from these and evaluate the projector only.
            twice: by operators that can be differentiated twice.
        """
        rows = self._lower_rows()
        with attention_route(twice):
            if self.config.prediction.strict and features is None:
                embeddings = self._embed_strict(params, _first(self.clips, rows))
            else:
                embeddings = self._embed(params, features, self.lower_autocast, rows)
        return self._predict(embeddings, twice)

    def upper(self, params: Params, features: Tensor | None = None) -> Tensor:
        """The contrastive losses summed over streams (Eq. 22, or Eq. 1 for the plain method)."""
        if isinstance(self.learner.objective, ClipObjective):
            return self._contrast_clips(params)
        embeddings = self._embed(params, features, self.autocast)
        return self._contrast(params, self._split(embeddings, with_lower=False))

    def both(self, params: Params) -> tuple[Tensor, Tensor]:
        """(lower, upper) from one pass."""
        embeddings = self._embed(params, None, self.autocast)
        rows = self._lower_rows()
        if self.config.decouple == "bod" and rows == len(self.clips):
            streams = self._split(embeddings, with_lower=True)
            assert streams.lower is not None
            return streams.lower, self._contrast(params, streams)
        lower = self._predict(_first(embeddings, rows), False)
        return lower, self._contrast(params, self._split(embeddings, with_lower=False))

    def undo_buffers(self) -> None:
        """Put the learner's buffers back to what they were before the first pass."""
        for name, buffer in self.learner.pass_buffers().items():
            buffer.copy_(self._buffers_before[name])

    def _lower_rows(self) -> int:
        """Clips of the first ``lower_share`` of the videos."""
        views = self.config.clip.views
        return math.ceil(self.config.bilevel.lower_share * (len(self.clips) // views)) * views

    def _predict(self, embeddings: Tensor, twice: bool) -> Tensor:
        config = self.config
        return prediction_loss(embeddings, config.koopman, config.prediction, fast=config.fast, twice=twice)

    def _split(self, embeddings: Tensor, with_lower: bool) -> Streams:
        config = self.config
        if config.decouple != "bod":
            return video_stream(embeddings)
        return koopman_streams(
            embeddings, config.koopman, config.prediction if with_lower else None, fast=config.fast
        )

    def _contrast(self, params: Params, streams: Streams) -> Tensor:
        batch = StreamBatch(streams.embeddings, self.videos, self.config.clip.views, self._targets())
        losses = self._call(params, ("objective",), lambda learner: learner.objective(batch))
        return self._logged(losses, streams)

    def _contrast_clips(self, params: Params) -> Tensor:
        views = self.config.clip.views
        with self._arithmetic(self.autocast):
            losses, embeddings = self._call(
                params,
                ("encoder", "objective"),
                lambda learner: learner.objective(learner.encoder, self.clips, self.videos, views),
            )
        return self._logged(losses, Streams({"video": embeddings}, None, {}))

    def _logged(self, losses: dict[str, Tensor], streams: Streams) -> Tensor:
        self.log = {f"loss_{name}": loss.detach() for name, loss in losses.items()} | streams.diagnostics
        if self.health:
            self.log |= stream_health(streams, self.config.clip.views) | self.learner.objective.diagnostics()
        return torch.stack(list(losses.values())).sum()

    @torch.no_grad()
    def _targets(self) -> dict[str, Tensor] | None:
        """Streams of the momentum encoder, whose only pass over this batch is the first call."""
        if self.learner.target is None:
            return None
        if not self.keys:
            with self._arithmetic(self.autocast), _replayed(self._random):
                embeddings = self.learner.targets(self.clips)
            self.keys = self._split(_wide(embeddings), with_lower=False).embeddings
        return self.keys

    def _embed_strict(self, params: Params, clips: Tensor) -> Tensor:
        prefix = "encoder."
        encoder, twin = self.learner.encoder, self.learner.strict_encoder()
        own = {n.removeprefix(prefix): p for n, p in params.items() if n.startswith(prefix)}
        buffers = {name: b.clone() for name, b in encoder.named_buffers()}
        with _replayed(self._random), self._arithmetic(self.lower_autocast):
            return _wide(functional_call(twin, central_slice(own, encoder) | buffers, (clips,)))

    def _embed(
        self, params: Params, features: Tensor | None, autocast: torch.dtype | None, rows: int | None = None
    ) -> Tensor:
        """``(N, T, M)`` of the first ``rows`` clips, float32 or wider."""
        rows = len(self.clips) if rows is None else rows
        with self._arithmetic(autocast):
            if features is None:
                compute, parts = lambda learner: learner.encoder(_first(self.clips, rows)), ("encoder",)
            else:
                features = _first(features, rows)
                given = features if autocast is not None else _wide(features)
                compute, parts = lambda learner: learner.encoder.project(given), ("encoder.projector",)
            return _wide(self._call(params, parts, compute, advance=rows == len(self.clips)))

    def _call(
        self,
        params: Params,
        parts: tuple[str, ...],
        compute: Callable[[Learner], Result],
        advance: bool = True,
    ) -> Result:
        """``compute(learner)`` with these parameters; buffers of ``parts`` that have advanced, or should not,
        are copies."""
        prefixes = tuple(f"{part}." for part in parts)
        touched = {n: b for n, b in self.learner.pass_buffers().items() if n.startswith(prefixes)}
        copies = {n: b.clone() for n, b in touched.items() if not advance or n in self._advanced}
        if advance:
            self._advanced |= touched.keys()
        with _replayed(self._random):
            return functional_call(self.learner, {**params, **copies}, (compute,))

    @contextmanager
    def _arithmetic(self, dtype: torch.dtype | None) -> Iterator[None]:
        with torch.autocast(self.clips.device.type, dtype, enabled=dtype is not None):
            yield


def _first(x: Tensor, rows: int) -> Tensor:
    return x if rows == len(x) else x[:rows]


def _wide(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _random_state(device: torch.device) -> dict[str, Any]:
    state: dict[str, Any] = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = (device, torch.cuda.get_rng_state(device))
    return state


@contextmanager
def _replayed(state: dict[str, Any]) -> Iterator[None]:
    torch.set_rng_state(state["cpu"])
    if "cuda" in state:
        device, cuda_state = state["cuda"]
        torch.cuda.set_rng_state(cuda_state, device)
    yield
