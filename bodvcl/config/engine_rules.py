"""Options of the training that contradict each other."""

from __future__ import annotations

from collections.abc import Iterator

from bodvcl.config.optim_rules import optim_contradictions
from bodvcl.config.schema import TrainConfig


def engine_contradictions(config: TrainConfig) -> Iterator[str]:
    """Parts that a batch cannot be cut into, what only a continued run has, what the optimiser cannot do."""
    batch, parts = config.batch_size, config.accumulate
    if batch % parts:
        yield (
            f"accumulate: a batch of {batch} videos cannot be cut into {parts} equal parts; "
            f"set --batch-size to a multiple of {parts}"
        )
    elif batch // parts < 2:
        yield f"accumulate: parts of 1 video have no negatives: set --accumulate to {batch // 2} or less"
    if config.resume_with_other_videos and not config.resume:
        yield "resume_with_other_videos: there is nothing to go on from; add --resume"
    yield from optim_contradictions(config.optim)
