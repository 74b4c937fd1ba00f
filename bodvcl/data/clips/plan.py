"""What each training step sees: which videos, and which clips of them. Every source follows this plan."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from bodvcl.config.schema import AugmentConfig, ClipConfig
from bodvcl.data.clips.batch import ClipBatch, ClipParams
from bodvcl.data.clips.draws import ClipDraws, draw_clips
from bodvcl.data.clips.order import check_share, epoch_order, spare_videos, step_videos
from bodvcl.data.files.video import VideoInfo
from bodvcl.errors import DataError
from bodvcl.text.words import counted


@dataclass(frozen=True)
class ClipPlan:
    """Maps (epoch, step) to the videos of a batch and their clips; a function of these numbers and the seed.

    Attributes:
        videos: the training videos; the number of a video is its position here.
        clip, augment: how clips are cut and augmented.
        batch_size: videos per global batch; an incomplete last batch is dropped.
        seed: seed of the order and of all draws.
        rank, world_size: number of this process, and how many train together; each takes its contiguous share
            of every global batch.

    Raises:
        DataError: `batch_size` is larger than the number of videos.
        ConfigError: `batch_size` is not a multiple of `world_size`.
        ValueError: `batch_size` is below 2, or `rank` is not in 0 .. world_size - 1.
    """

    videos: Sequence[VideoInfo]
    clip: ClipConfig
    augment: AugmentConfig
    batch_size: int
    seed: int
    rank: int = 0
    world_size: int = 1

    def __post_init__(self) -> None:
        check_share(self.batch_size, self.rank, self.world_size)
        if self.batch_size < 2:
            raise ValueError(
                f"batch_size is {self.batch_size}; expected 2 or more: other videos are the negatives"
            )
        if self.batch_size > len(self.videos):
            raise DataError(
                f"a batch of {self.batch_size} videos cannot be filled from "
                f"{counted(len(self.videos), 'usable video')}; "
                f"lower --batch-size to {len(self.videos)} or less, or add videos"
            )

    @property
    def steps_per_epoch(self) -> int:
        """Complete batches in an epoch."""
        return len(self.videos) // self.batch_size

    @property
    def share(self) -> int:
        """Videos per batch of this process."""
        return self.batch_size // self.world_size

    def indices(self, epoch: int, step: int) -> list[int]:
        """Numbers of the videos in this process's share of a batch."""
        order = epoch_order(self.seed, epoch, len(self.videos))
        share: list[int] = step_videos(order, step, self.batch_size, self.rank, self.world_size).tolist()
        return share

    def spares(self, epoch: int, step: int) -> Iterator[int]:
        """Numbers of the videos that this process may put in the place of unreadable ones, in order."""
        return spare_videos(
            self.seed, epoch, step, len(self.videos), self.batch_size, self.rank, self.world_size
        )

    def draws(self, epoch: int, index: int) -> ClipDraws:
        """The clips of a video in an epoch, and their augmentation."""
        return draw_clips(
            self.videos[index], self.clip, self.augment, seed=self.seed, epoch=epoch, index=index
        )


def collect(
    clips: Tensor,
    indices: Sequence[int],
    draws: Sequence[ClipDraws],
    failures: Sequence[tuple[str, str]] = (),
    epoch: int = 0,
    step: int = 0,
) -> ClipBatch:
    """A batch from the clips of some videos.

    Args:
        clips: uint8 (videos * views, L, S, S, 3), cut and resized.
        indices: number of each video.
        draws: what was drawn for each video.
        failures: (path, reason) of the videos that could not be read.
        epoch, step: position in the training, from 0.
    """
    if not draws:
        empty = torch.empty(0)
        nothing = ClipParams(*[empty] * len(fields(ClipParams)))
        return ClipBatch(clips, nothing, empty, empty, epoch, step, tuple(failures))

    def stacked(name: str) -> Tensor:
        return torch.from_numpy(np.concatenate([getattr(draw, name) for draw in draws]))

    return ClipBatch(
        clips=clips,
        params=ClipParams(**{field.name: stacked(field.name) for field in fields(ClipParams)}),
        videos=torch.tensor(indices),
        frames=stacked("frames"),
        epoch=epoch,
        step=step,
        failures=tuple(failures),
    )
