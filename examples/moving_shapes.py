"""Clips of the built-in moving shapes, drawn in memory. Your own data loader takes the place of this file."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from bodvcl.config.schema import ShapesConfig
from bodvcl.data.made.shapes import render

VIDEOS = 64
FRAMES, STRIDE, SIZE = 8, 2, 32


@cache
def video(number: int) -> Tensor:
    """All frames of a video, ``(3, 40, 32, 32)`` float with mean and spread near 0 and 1."""
    frames, _ = render(ShapesConfig(train_videos=VIDEOS, size=SIZE), "train", number)
    return (torch.from_numpy(frames).permute(3, 0, 1, 2) / 255 - 0.45) / 0.225


def two_clips(number: int) -> Tensor:
    """Two clips of one video, from random places of it: ``(2, 3, 8, 32, 32)``."""
    whole = video(number)
    starts = torch.randint(whole.shape[1] - STRIDE * (FRAMES - 1), (2,)).tolist()
    return torch.stack([whole[:, start::STRIDE][:, :FRAMES] for start in starts])


def random_batch(videos: int) -> tuple[Tensor, Tensor]:
    """Two clips of each of some random videos.

    Returns:
        Clips ``(2 * videos, 3, 8, 32, 32)``, and which video each was cut from, ``(2 * videos,)``.
    """
    numbers = torch.randperm(VIDEOS)[:videos]
    clips = torch.cat([two_clips(number) for number in numbers.tolist()])
    return clips, numbers.repeat_interleave(2)
