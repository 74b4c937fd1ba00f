"""The clips that an encoder is evaluated on: the same every time."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

from bodvcl.config.schema import ClipConfig
from bodvcl.data.clips.batch import ClipBatch
from bodvcl.data.clips.draws import ClipDraws, evaluation_draws
from bodvcl.data.files.video import VideoInfo
from bodvcl.data.sources.pyav_clips import read_batch

logger = logging.getLogger(__name__)


def evaluation_clips(
    videos: Sequence[VideoInfo],
    clip: ClipConfig,
    *,
    clips_per_video: int = 1,
    batch_size: int = 32,
    crops: int = 1,
) -> Iterator[ClipBatch]:
    """Clips evenly spread over each video, no colour change; decoded in this process.

    Args:
        videos: the videos, in the order of the batches.
        clip: length, stride and size; `clip.views` is not used.
        clips_per_video: clips per video, neighbours in the batch.
        batch_size: videos per batch; the last batch may be smaller.
        crops: squares along the longer side of the frame, for each clip; 1: the centred one.

    Yields:
        Batches; `batch.videos` says which videos they contain. A file that cannot be read is logged and left
        out.
    """
    for start in range(0, len(videos), batch_size):
        indices = range(start, min(start + batch_size, len(videos)))

        def draw(index: int) -> ClipDraws:
            return evaluation_draws(videos[index], clip, clips_per_video, crops)

        batch = read_batch(videos, indices, draw, clip, 1.0, {})
        for path, reason in batch.failures:
            logger.warning("left out of the evaluation, unreadable: %s: %s", path, reason)
        if len(batch.videos):
            yield batch
