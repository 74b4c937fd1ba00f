"""What an objective is: it turns the embeddings of a batch into one loss per stream, and keeps its own state.

An objective does not know how the streams were made. With several processes, every process has its share of
the batch. Averaged over the processes, losses and gradients are those of one process with the whole batch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from torch import Tensor, nn

from bodvcl.models.encoder import VideoEncoder


class ObjectiveInput(NamedTuple):
    """Embeddings of N clips, sorted by video: row ``v * views + k`` is clip k of video v.

    Attributes:
        streams: stream name to embeddings ``(N, M)``. A zero row is an empty stream and is ignored.
        videos: ``(N,)`` integers, the video that each row is a clip of; unique over all processes.
        views: rho, clips per video.
        targets: stream name to embeddings ``(N, M)`` of the momentum encoder, without gradient; None for a
            method without momentum encoder.
    """

    streams: Mapping[str, Tensor]
    videos: Tensor
    views: int
    targets: Mapping[str, Tensor] | None = None


class Objective(nn.Module, ABC):
    """Base of all objectives.

    Attributes:
        momentum: momentum of the momentum encoder at the start of the run; None: the method has no momentum
            encoder.
        extra_clips: clips per video that the objective makes and encodes itself, beside those of the batch.
    """

    momentum: float | None = None
    extra_clips: int = 0

    def after_step(self, keys: Sequence[Mapping[str, Tensor]], progress: float, taken: Tensor) -> None:
        """Update the objective's state after a step of the optimiser.

        Args:
            keys: the targets of each part of the batch, by stream.
            progress: share of the run that is done, in [0, 1].
            taken: bool scalar on the device of the state; where it is False, the step was left out and the
                state does not change.
        """

    def diagnostics(self) -> dict[str, Tensor]:
        """Scalars by name, for the log."""
        return {}


class StreamObjective(Objective):
    """An objective that compares the embeddings of named streams."""

    @abstractmethod
    def forward(self, batch: ObjectiveInput) -> dict[str, Tensor]:
        """One scalar loss per stream, float32 or wider."""


class ClipObjective(Objective):
    """An objective that encodes the clips itself: it needs more of the network than one vector per frame."""

    @abstractmethod
    def forward(
        self, encoder: VideoEncoder, clips: Tensor, videos: Tensor, views: int
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Scalar losses by name, and the clips' embeddings ``(N, M)``, both float32 or wider.

        Args:
            encoder: encoder of the clips; under autocast its arithmetic may be narrower.
            clips: ``(N, 3, L, H, W)``, in the order of :class:`ObjectiveInput`. The last clip of a video
                repeats the frames of its first.
            videos: ``(N,)`` integers, as in :class:`ObjectiveInput`.
            views: rho, clips per video.
        """
