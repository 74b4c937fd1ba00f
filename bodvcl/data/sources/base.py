"""What all sources share: epochs that follow a plan without a pause between them, and unreadable files."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator

from bodvcl.data.clips.batch import ClipBatch
from bodvcl.data.clips.plan import ClipPlan
from bodvcl.data.sources.failures import BadFiles
from bodvcl.errors import DataError


class PlannedSource(ABC):
    """Yields the batches of a plan, epoch by epoch, and prepares the next epoch before it is asked for.

    A file that cannot be read is logged once, and another video takes its place.

    Args:
        plan: what each step sees.
        max_bad: share of the videos that may turn out to be unreadable, 0 to 1.

    Attributes:
        steps_per_epoch: batches in an epoch.
    """

    def __init__(self, plan: ClipPlan, max_bad: float = 0.01) -> None:
        self.plan = plan
        self.steps_per_epoch = plan.steps_per_epoch
        self._bad = BadFiles(len(plan.videos), max_bad)
        self._fewest = 2 if plan.world_size == 1 else plan.share  # ranks must have equal shares
        self._batches: Generator[ClipBatch] | None = None
        self._next: tuple[int, int] | None = None

    @abstractmethod
    def _batches_from(self, epoch: int, step: int) -> Generator[ClipBatch]:
        """All batches from a position on, without end. Closing the generator frees its resources."""

    @property
    def failed(self) -> dict[str, str]:
        """Path to reason of every file that could not be read so far."""
        return self._bad.failed

    def epoch(self, epoch: int, start_step: int = 0) -> Iterator[ClipBatch]:
        """Batches start_step .. steps_per_epoch - 1 of an epoch, in order.

        The next epoch is prepared meanwhile, so it starts without a wait.

        Raises:
            DataError: fewer than two videos of a batch can be read (with several processes: fewer than this
                process's share) and no other video can take a place; a larger share of all files than
                `max_bad` is unreadable; or a decoding process died and no file caused it.
        """
        for step in range(start_step, self.steps_per_epoch):
            if self._batches is None or self._next != (epoch, step):
                self.close()
                self._batches = self._batches_from(epoch, step)
            self._next = (epoch, step + 1) if step + 1 < self.steps_per_epoch else (epoch + 1, 0)
            yield self._checked(next(self._batches))

    def _checked(self, batch: ClipBatch) -> ClipBatch:
        self._bad.add(batch.failures)
        if len(batch.videos) < self._fewest:
            path, reason = batch.failures[0]
            raise DataError(
                f"only {len(batch.videos)} of {self.plan.share} videos of a batch can be read, and no other "
                f"video can take a place; for example {path}: {reason}; check that the files still exist, or "
                "lower --batch-size"
            )
        self._bad.check()
        return batch

    def close(self) -> None:
        """End processes, threads and decoders. The source can still be used: it then starts them again."""
        if self._batches is not None:
            self._batches.close()
        self._batches = self._next = None
