"""Action detection as a task of the training loop."""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterator, Mapping, Sequence

import numpy as np
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from bodvcl.data.clips.order import check_share
from bodvcl.data.sets.ava import AvaActions
from bodvcl.data.sets.ava_boxes import BoxTable
from bodvcl.data.sources.failures import BadFiles
from bodvcl.data.workers.process import default_workers
from bodvcl.detect.clips import KeyFrameClips
from bodvcl.detect.examples import Example
from bodvcl.detect.reading import DetectionBatch, EvaluationSteps, TrainingSteps, chunks, normalised, read_all
from bodvcl.detect.roi_head import ActionDetector
from bodvcl.detect.scores import DetectionTest, evaluate, from_all_ranks, predictions, score_people
from bodvcl.engine.ranks import Ranks
from bodvcl.errors import ConfigError
from bodvcl.finetune.task import ParameterGroup
from bodvcl.text.progress import progress_bar
from bodvcl.text.words import counted

logger = logging.getLogger(__name__)

VALIDATED = 4
"""While training, key frames at every fourth second are validated, as in SlowFast; the test takes all."""
CHUNK = 8
"""Most clips of a test batch."""
_NONE: tuple[DetectionBatch, ...] = ()


class DetectionTask:
    """Trains a network on key frames; the loss is the mean binary cross-entropy of all people and actions.

    Args:
        model: the network.
        train: key frames to train on.
        test: key frames to test on.
        truth: ground truth of the test.
        actions: the label map.
        ranks: the processes that train together.
        batch_size: clips of a step, over all processes.
        seed: seed of the order, the crops and the mirroring.
        normalisation: mean and standard deviation of the network's input.
        max_bad: share of the training films that may be unreadable.
        workers: decoding processes. None: chosen from the number of cores.

    Raises:
        ConfigError: fewer key frames than a batch, or a batch that the ranks cannot share equally.
    """

    def __init__(
        self,
        model: ActionDetector,
        train: KeyFrameClips,
        test: KeyFrameClips,
        truth: BoxTable,
        actions: AvaActions,
        ranks: Ranks,
        *,
        batch_size: int,
        seed: int,
        normalisation: tuple[float, float],
        max_bad: float,
        workers: int | None,
    ) -> None:
        check_share(batch_size, ranks.rank, ranks.size)
        self.steps_per_epoch = len(train.examples) // batch_size
        if not self.steps_per_epoch:
            raise ConfigError(
                f"a batch has {batch_size} clips, but there are only "
                f"{counted(len(train.examples), 'key frame')} to train on; lower --batch-size"
            )
        self.model: nn.Module = model
        self._detector = model
        self._train, self._test, self._truth, self._actions = train, test, truth, actions
        self._ranks, self._batch_size, self._seed = ranks, batch_size, seed
        self._normalisation = normalisation
        self._workers = default_workers() if workers is None else workers
        self._bad = BadFiles(len({example.film for example in train.examples}), max_bad, "--max-bad")
        self._validated = every_fourth_second(test.examples, truth, actions)
        self._reading: Generator[DetectionBatch] = (_ for _ in _NONE)

    def groups(self) -> Sequence[ParameterGroup]:
        return [ParameterGroup(1.0, list(self.model.parameters()))]

    def batches(self, epoch: int, start_step: int) -> Iterator[DetectionBatch]:
        share = self._ranks.rank, self._ranks.size
        read = TrainingSteps(self._train, self._batch_size, self._seed, epoch, start_step, *share)
        self._reading = read_all(read, self.steps_per_epoch - start_step, self._workers)
        for batch in self._reading:
            self._bad.add(batch.failures)
            self._bad.check()
            yield batch

    def loss(self, batch: DetectionBatch) -> Tensor:
        moved = batch.to(self._ranks.device)
        logits: Tensor = self._detector(normalised(moved.clips, *self._normalisation), moved.boxes)
        people = logits.new_full((), len(logits))
        share = self._ranks.mean({"people": people})["people"]  # the mean over all people, not over ranks
        total = binary_cross_entropy_with_logits(logits, moved.labels, reduction="sum")
        return total / (share * logits.shape[1])

    def validate(self) -> Mapping[str, float]:
        tested = self.test(*self._validated)
        return self._ranks.tell(lambda: tested.evaluation.metrics() if tested else {})

    def test(
        self, numbers: Sequence[int] | None = None, truth: BoxTable | None = None
    ) -> DetectionTest | None:
        """Score and evaluate test key frames, each rank its share; None on other ranks than the first.

        The model is in evaluation mode, without gradients.

        Args:
            numbers: numbers of the key frames. None: all.
            truth: their ground truth. None: that of the whole test.

        Raises:
            DataError: a decoding process died, or none of these key frames could be read.
        """
        numbers = range(len(self._test.examples)) if numbers is None else numbers
        shares = chunks(self._test.examples, numbers, CHUNK)[self._ranks.rank :: self._ranks.size]
        read = read_all(EvaluationSteps(self._test, shares), len(shares), self._workers)
        with progress_bar(
            read, desc="test", total=len(shares), unit="batch", disable=not self._ranks.first
        ) as batches:
            people = score_people(self._detector, batches, self._ranks.device, *self._normalisation)
        for path, reason in people.failures:
            logger.warning("not tested, unreadable: %s: %s", path, reason)
        everybody = from_all_ranks(people, self._ranks)
        if everybody is None:
            return None
        found = predictions(everybody, self._test.examples, self._actions.evaluated)
        truth = self._truth if truth is None else truth
        return DetectionTest(everybody, found, evaluate(truth, found, self._actions))

    def close(self) -> None:
        self._reading.close()


def every_fourth_second(
    examples: Sequence[Example], truth: BoxTable, actions: AvaActions
) -> tuple[Sequence[int], BoxTable]:
    """The test key frames that are validated while training, and their ground truth.

    All are, where those at every fourth second hold no action that counts.
    """
    numbers = [number for number, example in enumerate(examples) if example.second % VALIDATED == 0]
    some = truth.without({key for key in truth.keys if key[1] % VALIDATED})
    count = np.isin(some.actions, actions.evaluated)
    with_action = {truth.keys[frame] for frame in np.unique(some.frames[count])}
    if not with_action & {examples[number].key for number in numbers}:
        return range(len(examples)), truth
    return numbers, some
