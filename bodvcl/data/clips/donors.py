"""Which clip of a batch gives a clip its scene."""

from __future__ import annotations

import torch
from torch import Tensor

GROUP = 8
"""Videos among which scenes are exchanged, where the batch can be divided into groups of that size.

A batch that is shared by several processes, or cut into parts, then gives every clip the same donor as a
whole one, as long as each share is a multiple of this many videos.
"""


def donors(draw: Tensor, videos: int) -> Tensor:
    """Donor of every clip: a clip of another video. Two clips of one video have donors of different videos,
    where the group is large enough.

    Args:
        draw: ``(N, 2)`` in [0, 1), what was drawn for each clip; the clips are sorted by video. The first
            number counts for the first clip of each video only.
        videos: number of videos in the batch, 2 or more.

    Returns:
        int64 ``(N,)``, row of the donor.
    """
    views = len(draw) // videos
    group = next((size for size in (GROUP, GROUP // 2) if videos % size == 0), videos)
    draw = draw.double()
    view = torch.arange(views).repeat(videos)
    video = torch.arange(videos).repeat_interleave(views)
    first = (draw[:, 0].unflatten(0, (videos, views))[:, 0] * (group - 1)).long()
    step = 1 + (first.repeat_interleave(views) + view) % (group - 1)
    other = video // group * group + (video % group + step) % group
    row: Tensor = other * views + (draw[:, 1] * views).long()
    return row
