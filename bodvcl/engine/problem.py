"""Both levels' losses of one batch, as a bi-level solver wants them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.func import functional_call

from bodvcl.bilevel.solvers import Params
from bodvcl.config import TrainConfig
from bodvcl.engine.learner import Learner
from bodvcl.models.streams import Streams, koopman_streams, prediction_loss, video_stream

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

    Attributes:
        head: names of the projector's parameters.
        keys: stream name to ``(N, M)``, what the objective remembers of this batch; empty where nothing.
        log: losses and diagnostics of the last upper pass, without gradient.
    """

    def __init__(
        self,
        learner: Learner,
        clips: Tensor,
        videos: Tensor,
        config: TrainConfig,
        autocast: torch.dtype | None,
    ) -> None:
        self.learner, self.clips, self.videos = learner, clips, videos
        self.config, self.autocast = config, autocast
        self.head = frozenset(f"encoder.{name}" for name in learner.encoder.head_names())
        self.keys: dict[str, Tensor] = {}
        self.log: dict[str, Tensor] = {}
        self._advanced: set[str] = set()
        self._buffers_before = {name: b.clone() for name, b in learner.named_buffers()}
        self._random = _random_state(clips.device)

    def features(self, params: Params) -> Tensor:
        """``(N, T, D)`` of the backbone alone, in the upper level's arithmetic."""
        with self._arithmetic(self.autocast):
            return self._call(
                params, ("encoder.backbone",), lambda learner: learner.encoder.frames(self.clips)
            )

    def lower(self, params: Params, features: Tensor | None = None, *, twice: bool = False) -> Tensor:
        """L_pred (Eq. 19), always in float32: finite differences in bfloat16 are noise.

        Args:
            params: of the learner, by name.
            features: start from these and evaluate the projector only.
            twice: by operators that can be differentiated twice.
        """
        embeddings = self._embed(params, features, None)
        config = self.config
        return prediction_loss(embeddings, config.koopman, config.prediction, fast=config.fast, twice=twice)

    def upper(self, params: Params, features: Tensor | None = None) -> Tensor:
        """The contrastive losses summed over streams (Eq. 22, or Eq. 1 for the plain method)."""
        embeddings = self._embed(params, features, self.autocast)
        return self._contrast(params, self._split(embeddings, with_lower=False))

    def both(self, params: Params) -> tuple[Tensor, Tensor]:
        """(lower, upper) from one pass."""
        embeddings = self._embed(params, None, self.autocast)
        config = self.config
        if config.decouple == "bod":
            streams = self._split(embeddings, with_lower=True)
            assert streams.lower is not None
            return streams.lower, self._contrast(params, streams)
        lower = prediction_loss(embeddings, config.koopman, config.prediction, fast=config.fast)
        return lower, self._contrast(params, video_stream(embeddings))

    def undo_buffers(self) -> None:
        """Put the learner's buffers back to what they were before the first pass."""
        for name, buffer in self.learner.named_buffers():
            buffer.copy_(self._buffers_before[name])

    def _split(self, embeddings: Tensor, with_lower: bool) -> Streams:
        config = self.config
        if config.decouple != "bod":
            return video_stream(embeddings)
        return koopman_streams(
            embeddings, config.koopman, config.prediction if with_lower else None, fast=config.fast
        )

    def _contrast(self, params: Params, streams: Streams) -> Tensor:
        losses = self._call(
            params, ("objective",), lambda learner: learner.objective(streams.embeddings, self.videos)
        )
        self.log = {f"loss_{name}": loss.detach() for name, loss in losses.items()} | streams.diagnostics
        return torch.stack(list(losses.values())).sum()

    def _embed(self, params: Params, features: Tensor | None, autocast: torch.dtype | None) -> Tensor:
        """``(N, T, M)``, float32 or wider."""
        with self._arithmetic(autocast):
            if features is None:
                embeddings = self._call(params, ("encoder",), lambda learner: learner.encoder(self.clips))
            else:
                given = features if autocast is not None else _wide(features)
                embeddings = self._call(
                    params, ("encoder.projector",), lambda learner: learner.encoder.project(given)
                )
        return _wide(embeddings)

    def _call(self, params: Params, parts: tuple[str, ...], compute: Callable[[Learner], Result]) -> Result:
        """``compute(learner)`` with these parameters; buffers of ``parts`` that have advanced are copies."""
        copies: dict[str, Tensor] = {}
        first: set[str] = set()
        for name, buffer in self.learner.named_buffers():
            if name.startswith(tuple(f"{part}." for part in parts)):
                if name in self._advanced:
                    copies[name] = buffer.clone()
                else:
                    first.add(name)
        self._advanced |= first
        with _replayed(self._random):
            return functional_call(self.learner, {**params, **copies}, (compute,))

    @contextmanager
    def _arithmetic(self, dtype: torch.dtype | None) -> Iterator[None]:
        with torch.autocast(self.clips.device.type, dtype, enabled=dtype is not None):
            yield


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
