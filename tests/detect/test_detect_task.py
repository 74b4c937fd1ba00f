"""The loss of a detection: the mean over all people and actions, also where processes have unequal shares."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from detect.tiny_ava import BEGINS
from torch.nn.functional import binary_cross_entropy_with_logits

from bodvcl.config.schema import ModelConfig
from bodvcl.data.sets.ava import read_ava_actions, read_ava_keyframes, truth_table
from bodvcl.detect.clips import ClipShape, KeyFrameClips
from bodvcl.detect.examples import annotated
from bodvcl.detect.films import open_films
from bodvcl.detect.reading import TrainingSteps, normalised
from bodvcl.detect.roi_head import ActionDetector
from bodvcl.detect.task import DetectionTask
from bodvcl.errors import ConfigError
from bodvcl.models.backbones.build import build_backbone


@pytest.fixture(scope="module")
def clips(ava_folder) -> KeyFrameClips:
    films = open_films(f"ava:{ava_folder}", ava_folder, extracted=False, begins=BEGINS, workers=0)
    examples = annotated(read_ava_keyframes(ava_folder, "train"), 80)
    return KeyFrameClips(examples, films, ClipShape(4, 1, 10.0, 32, (36, 44), 0.5, 48))


def task(clips, ava_folder, people: float, size: int = 1, batch_size: int = 8) -> DetectionTask:
    """A task of one of ``size`` processes, which have ``people`` people on average."""
    ranks = SimpleNamespace(
        rank=0, size=size, device=torch.device("cpu"), mean=lambda tensors: {"people": torch.tensor(people)}
    )
    torch.manual_seed(0)
    model = ActionDetector(build_backbone(ModelConfig(width=4)), 16, 80).eval()
    torch.nn.init.normal_(model.head.weight)
    truth = truth_table(read_ava_keyframes(ava_folder, "val"))
    return DetectionTask(
        model, clips, clips, truth, read_ava_actions(ava_folder), ranks, batch_size=batch_size, seed=0,
        normalisation=(0.45, 0.225), max_bad=0.0, workers=0,
    )  # fmt: skip


def test_the_losses_of_two_processes_average_to_that_of_one(clips, ava_folder):
    for epoch in range(6):
        whole = TrainingSteps(clips, 8, 0, epoch, 0, 0, 1)(0)
        halves = [TrainingSteps(clips, 8, 0, epoch, 0, rank, 2)(0) for rank in (0, 1)]
        counts = [len(half.people) for half in halves]
        if counts[0] != counts[1]:
            break
    assert counts[0] != counts[1]
    one = task(clips, ava_folder, float(len(whole.people)))
    two = task(clips, ava_folder, sum(counts) / 2, size=2)
    with torch.no_grad():
        expected = one.loss(whole)
        torch.testing.assert_close(sum(two.loss(half) for half in halves) / 2, expected)
        logits = one.model(normalised(whole.clips, 0.45, 0.225), whole.boxes)
    torch.testing.assert_close(expected, binary_cross_entropy_with_logits(logits, whole.labels))


def test_the_batches_of_an_epoch(clips, ava_folder):
    made = task(clips, ava_folder, 1.0)
    assert made.steps_per_epoch == 2
    first, second = made.batches(0, 0)
    (again,) = made.batches(0, 1)
    assert torch.equal(second.clips, again.clips)
    numbers = [number for batch in (first, second) for number in batch.people[:, 0].unique().tolist()]
    assert sorted(numbers) == list(range(16))
    made.close()


def test_a_batch_that_cannot_be_shared_or_filled(clips, ava_folder):
    with pytest.raises(ConfigError, match="cannot be shared equally by 3 processes"):
        task(clips, ava_folder, 1.0, size=3)
    with pytest.raises(ConfigError, match="there are only 16 key frames to train on"):
        task(clips, ava_folder, 1.0, batch_size=32)
