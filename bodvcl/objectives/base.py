"""What an objective is: embeddings of a batch in, one loss per stream out, with whatever it remembers.

An objective knows nothing of how the streams were made. With several processes every process has its share of
the batch; the losses and gradients of all processes, averaged, are those of one process with the whole batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn

from bodvcl.models.encoder import VideoEncoder
from bodvcl.ops.contrastive import info_nce
from bodvcl.ops.distributed import info_nce_gathered, world_size


class StreamBatch(NamedTuple):
    """Embeddings of N clips, video by video: row ``v * views + k`` is clip k of video v.

    Attributes:
        streams: name to ``(N, M)``. A zero row is an empty stream: it contributes nothing.
        videos: ``(N,)`` integers, which video a row is a clip of; unique over all processes.
        views: rho, clips per video.
        targets: name to ``(N, M)`` from the momentum encoder, without gradient; None where there is none.
    """

    streams: Mapping[str, Tensor]
    videos: Tensor
    views: int
    targets: Mapping[str, Tensor] | None = None


class Objective(nn.Module):
    """Base of all objectives.

    Attributes:
        momentum: of the momentum encoder at the start of the run; None: the method has no such encoder.
    """

    momentum: float | None = None

    def after_step(self, keys: Sequence[Mapping[str, Tensor]], progress: float) -> None:
        """What follows the optimiser's step.

        Args:
            keys: the targets of each micro-batch of the step, by stream.
            progress: share of the run that is done, in [0, 1].
        """

    def diagnostics(self) -> dict[str, Tensor]:
        """Name to a scalar, for the log."""
        return {}


class StreamObjective(Objective):
    """An objective of named streams."""

    def forward(self, batch: StreamBatch) -> dict[str, Tensor]:
        """One scalar loss per stream, float32 or wider."""
        raise NotImplementedError


class ClipObjective(Objective):
    """An objective that encodes the clips itself: it needs more of the network than one vector per frame."""

    def forward(
        self, encoder: VideoEncoder, clips: Tensor, videos: Tensor, views: int
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Scalar losses by name, and the clips' embeddings ``(N, M)``, both float32 or wider.

        Args:
            encoder: its arithmetic may be narrower, under autocast.
            clips: ``(N, 3, L, H, W)``, row by row as in :class:`StreamBatch`; the last clip of a video
                repeats the frames of its first.
            videos, views: as in :class:`StreamBatch`.
        """
        raise NotImplementedError


def stacked(streams: Mapping[str, Tensor]) -> Tensor:
    """``(H, N, M)`` of H streams."""
    return torch.stack(list(streams.values()))


def nonempty(z: Tensor) -> Tensor:
    """``(...)`` bool of ``(..., M)``: rows that are not zero."""
    return z.detach().abs().amax(-1) > 0


def row_ids(count: int, device: torch.device) -> Tensor:
    """``(count,)`` int64, numbers of this process's rows that no other process has."""
    first = dist.get_rank() * count if world_size() > 1 else 0
    return torch.arange(first, first + count, device=device)


def mean_over_ranks(total: Tensor, count: Tensor) -> Tensor:
    """``total / count`` such that its average over processes is the quotient of the sums over processes.

    Args:
        total: ``(H,)``, sums over this process's rows.
        count: ``(H,)`` integers, how many rows that were. Where there are none anywhere the result is 0.
    """
    ranks = world_size()
    if ranks > 1:
        count = count.clone()
        dist.all_reduce(count)
    return total * ranks / count.clamp_min(1)


def info_nce_in_batch(
    z: Tensor, videos: Tensor, clips: Tensor, tau: float, names: Sequence[str], *, normalize: bool = True
) -> Tensor:
    """``(H,)`` InfoNCE (Eqs. 1 and 2) of every row against the rows of all processes.

    Args:
        z: ``(H, N, M)``. With ``normalize`` a zero row counts neither as query nor as key.
        videos: ``(N,)`` integers; rows of one video are positives.
        clips: ``(N,)`` integers; rows with equal numbers are not compared.
        tau: temperature.
        names: of the H streams, for error messages.
        normalize: compare directions; False: dot products.
    """
    options = {"temperature": tau, "normalize": normalize, "streams": tuple(names), "check_finite": False}
    valid = nonempty(z) if normalize else None
    if world_size() > 1:
        return info_nce_gathered(z, z, video=videos, clip=clips, valid=valid, **options)
    ids = {"query_video": videos, "key_video": videos, "query_clip": clips, "key_clip": clips}
    return info_nce(z, z, valid=valid, **ids, **options)
