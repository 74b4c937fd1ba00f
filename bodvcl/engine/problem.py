"""Both levels' losses of one batch, as a bi-level solver wants them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from bodvcl.bilevel.solvers import Params
from bodvcl.config import TrainConfig
from bodvcl.models.streams import Streams, koopman_streams, prediction_loss, video_stream


class BatchProblem:
    """L_pred and the contrastive loss of one batch of clips, as functions of the encoder's parameters.

    The first pass updates the encoder's buffers (BatchNorm statistics); later passes work on copies, so
    that the buffers advance once per step. Every pass starts from the same random state.

    Args:
        encoder: maps clips to per-frame embeddings; its own parameters are not used.
        objective: maps named streams and video ids to one loss per stream.
        clips: ``(N, 3, L, H, W)``.
        videos: ``(N,)`` integers: which video a row is a clip of.
        config: what to compute, and how.
        bf16: run the upper level's backbone under bfloat16 autocast.
    """

    def __init__(
        self,
        encoder: nn.Module,
        objective: nn.Module,
        clips: Tensor,
        videos: Tensor,
        config: TrainConfig,
        bf16: bool,
    ) -> None:
        self.encoder, self.objective = encoder, objective
        self.clips, self.videos = clips, videos
        self.config, self.bf16 = config, bf16
        self.log: dict[str, Tensor] = {}
        self._first = True
        self._buffers_before = {name: b.clone() for name, b in encoder.named_buffers()}
        self._random = _random_state(clips.device)

    def lower(self, params: Params) -> Tensor:
        """L_pred (Eq. 19), always in float32: finite differences in bfloat16 are noise."""
        embeddings = self._embed(params, bf16=False)
        return prediction_loss(embeddings, self.config.koopman, self.config.prediction, fast=self.config.fast)

    def upper(self, params: Params) -> Tensor:
        """The contrastive losses summed over streams (Eq. 22, or Eq. 1 for the plain method)."""
        return self._contrast(self._split(self._embed(params, self.bf16), with_lower=False))

    def both(self, params: Params) -> tuple[Tensor, Tensor]:
        """(lower, upper) from one pass."""
        embeddings = self._embed(params, self.bf16)
        if self.config.decouple == "bod":
            streams = self._split(embeddings, with_lower=True)
            assert streams.lower is not None
            return streams.lower, self._contrast(streams)
        config = self.config
        lower = prediction_loss(embeddings.float(), config.koopman, config.prediction, fast=config.fast)
        return lower, self._contrast(video_stream(embeddings.float()))

    def undo_buffers(self) -> None:
        """Put the encoder's buffers back to what they were before the first pass."""
        for name, buffer in self.encoder.named_buffers():
            buffer.copy_(self._buffers_before[name])

    def _split(self, embeddings: Tensor, with_lower: bool) -> Streams:
        config = self.config
        if config.decouple != "bod":
            return video_stream(embeddings)
        return koopman_streams(
            embeddings, config.koopman, config.prediction if with_lower else None, fast=config.fast
        )

    def _contrast(self, streams: Streams) -> Tensor:
        losses = self.objective(streams.embeddings, self.videos)
        self.log = {f"loss_{name}": loss.detach() for name, loss in losses.items()} | streams.diagnostics
        return torch.stack(list(losses.values())).sum()

    def _embed(self, params: Params, bf16: bool) -> Tensor:
        buffers = dict(self.encoder.named_buffers())
        if not self._first:
            buffers = {name: b.clone() for name, b in buffers.items()}
        self._first = False
        with _replayed(self._random), torch.autocast(self.clips.device.type, torch.bfloat16, enabled=bf16):
            embeddings = functional_call(self.encoder, (params, buffers), (self.clips,))
        return embeddings.float() if bf16 else embeddings


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
