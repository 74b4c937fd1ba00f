"""Batches of clips, decoded in worker processes, in an order that is a function of (seed, epoch, step)."""

from __future__ import annotations

import itertools
import math
import signal
from collections.abc import Generator

from bodvcl.data.clips.batch import ClipBatch
from bodvcl.data.clips.draws import ClipDraws
from bodvcl.data.clips.plan import ClipPlan
from bodvcl.data.files.video import VideoInfo
from bodvcl.data.sources.base import PlannedSource
from bodvcl.data.sources.kept_frames import KeptFrames, bytes_of
from bodvcl.data.sources.pyav_clips import decode_size, read_batch
from bodvcl.data.workers.pool import Note, WorkerDied, WorkerPool
from bodvcl.data.workers.process import default_workers
from bodvcl.errors import DataError

_PREFETCH = 2  # batches that each worker prepares ahead
_CRASHES = {signal.SIGSEGV, signal.SIGABRT, signal.SIGFPE, signal.SIGILL}  # a decoder's own fault


def bytes_decoded(plan: ClipPlan, most: float = math.inf) -> float:
    """Bytes of all videos of a plan, decoded whole; infinity as soon as they are more than ``most``."""
    total = 0.0
    for info in plan.videos:
        total += bytes_of(info, _decoded(info, plan))
        if total > most:
            return math.inf
    return total


def _decoded(info: VideoInfo, plan: ClipPlan) -> tuple[int, int]:
    return decode_size(info, plan.clip, plan.augment.crop_area[0])


class _PlannedBatches:
    """Maps (epoch, step) to its batch, in any process.

    Attributes:
        unusable: maps the number of each video that must not be opened to the reason: it crashes or hangs its
            reader.
    """

    def __init__(self, plan: ClipPlan, keep: float) -> None:
        self.plan = plan
        kept = plan.videos if keep else ()
        self._read = KeptFrames(kept, [_decoded(info, plan) for info in kept], round(keep * 1e9))
        self.unusable: dict[int, str] = {}

    def __call__(self, address: tuple[int, int], note: Note) -> ClipBatch:
        plan, (epoch, step) = self.plan, address

        def draw(index: int) -> ClipDraws:
            note(index)
            return plan.draws(epoch, index)

        return read_batch(
            plan.videos,
            plan.indices(epoch, step),
            draw,
            plan.clip,
            plan.augment.crop_area[0],
            self.unusable,
            epoch,
            step,
            self._read,
            plan.spares(epoch, step),
        )


class PyAVSource(PlannedSource):
    """Decodes with PyAV in worker processes; exact for every format.

    The batches depend neither on the number of workers nor on where a run was resumed. A file that crashes
    its worker or takes longer than `timeout` counts as one that cannot be read.
    """

    def __init__(
        self,
        plan: ClipPlan,
        *,
        workers: int | None = None,
        timeout: float | None = None,
        max_bad: float = 0.01,
        keep: float = 0.0,
    ) -> None:
        """
        Args:
            plan: what each step sees.
            workers: decoding processes. 0: decode in this process. None: by the number of cores.
            timeout: seconds that one video may take; its worker is then replaced and the file counts as
                unreadable. None: no limit. Without workers there is no limit either.
            max_bad: share of the videos that may turn out to be unreadable, 0 to 1.
            keep: gigabytes for :class:`~bodvcl.data.sources.kept_frames.KeptFrames`, which the decoding
                processes share.
        """
        super().__init__(plan, max_bad)
        self._workers = default_workers() if workers is None else workers
        self._timeout = timeout
        self._read_batch = _PlannedBatches(plan, keep)

    def _batches_from(self, epoch: int, step: int) -> Generator[ClipBatch]:
        first = epoch * self.steps_per_epoch + step
        if self._workers == 0:
            for number in itertools.count(first):
                yield self._read_batch(divmod(number, self.steps_per_epoch), lambda index: None)
        while True:  # again, with new workers, after each file that cost one
            with WorkerPool(self._read_batch, self._workers, self._timeout) as pool:
                for number in itertools.count(first):
                    pool.submit(divmod(number, self.steps_per_epoch))
                    if len(pool) <= _PREFETCH * self._workers:
                        continue
                    try:
                        batch = pool.receive()
                    except WorkerDied as death:
                        self._blame(death)
                        break
                    first += 1
                    yield batch

    def _blame(self, death: WorkerDied) -> None:
        """Exclude the file that ended a worker.

        Raises:
            DataError: no file caused it.
        """
        signal_number = -(death.exitcode or 0)
        if death.note >= 0 and death.hung:
            reason = f"not decoded within {self._timeout:g} seconds (--decode.timeout)"
        elif death.note >= 0 and signal_number in _CRASHES:
            reason = f"crashes the decoder ({signal.Signals(signal_number).name})"
        else:
            raise self._death_notice(death) from None
        self._read_batch.unusable[death.note] = reason

    def _death_notice(self, death: WorkerDied) -> DataError:
        code = death.exitcode
        how = f"killed by signal {signal.Signals(-code).name}" if code and code < 0 else f"exit code {code}"
        held = f"; it was reading {self.plan.videos[death.note].path}" if death.note >= 0 else ""
        epoch, step = death.task
        return DataError(
            f"a decoding process died ({how}) at step {step} of epoch {epoch}{held}; either memory or "
            "/dev/shm ran out (lower --workers or --batch-size), or this file crashes the decoder (remove it)"
        )
