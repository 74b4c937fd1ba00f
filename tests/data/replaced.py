"""What happens to a batch where a video cannot be read."""

from __future__ import annotations

import torch

from bodvcl.data.clips.batch import ClipBatch


def assert_replaced(before: ClipBatch, after: ClipBatch, bad: int) -> int:
    """``after`` is ``before`` with a video of no other place instead of ``bad``. Returns how many places."""
    places = before.videos == bad
    rows = places.repeat_interleave(len(before.clips) // len(before.videos))
    assert len(after.videos) == len(before.videos)
    assert after.clips.shape == before.clips.shape
    assert torch.equal(after.videos[~places], before.videos[~places])
    assert torch.equal(after.clips[~rows], before.clips[~rows])
    assert torch.equal(after.params.colour[~rows], before.params.colour[~rows])
    assert not set(after.videos[places].tolist()) & set(before.videos.tolist())
    return int(places.sum())
