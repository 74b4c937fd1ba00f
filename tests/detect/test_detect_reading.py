"""Clips of key frames: what is boxed is what is seen, draws are reproducible, bad films are replaced."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from detect.tiny_ava import BEGINS, BEND, JUMP, STAND

from bodvcl.data.sets.ava import KeyFrame, read_ava_keyframes
from bodvcl.data.sets.ava_boxes import BoxTable
from bodvcl.detect.clips import ClipShape, KeyFrameClips
from bodvcl.detect.examples import annotated, detected, readable, with_labelled_detections
from bodvcl.detect.films import open_films
from bodvcl.detect.reading import EvaluationSteps, TrainingSteps, chunks, normalised, read_all
from bodvcl.errors import DataError

SHAPE = ClipShape(4, 1, 10.0, 32, (36, 44), 0.5, 48)
RED = torch.tensor([220, 60, 60])


@pytest.fixture(scope="module")
def clips(ava_folder) -> KeyFrameClips:
    films = open_films(f"ava:{ava_folder}", ava_folder, extracted=False, begins=BEGINS, workers=0)
    return KeyFrameClips(annotated(read_ava_keyframes(ava_folder, "train"), 80), films, SHAPE)


def same(one, other) -> bool:
    return all(
        torch.equal(getattr(one, field.name), getattr(other, field.name))
        for field in dataclasses.fields(one)
        if field.name != "failures"
    )


def test_people_are_in_their_boxes_in_the_middle_frame(clips):
    for epoch in range(3):
        batch = TrainingSteps(clips, 8, 0, epoch, 0, 0, 1)(0)
        assert batch.clips.shape == (8, 4, 32, 32, 3)
        assert len(batch.boxes) == len(batch.labels) == len(batch.people) > 8
        for number, x1, y1, x2, y2 in batch.boxes.tolist():
            seen = batch.clips[int(number), 2, int(y1 + 2) : int(y2 - 1), int(x1 + 2) : int(x2 - 1)]
            assert seen.numel() == 0 or (seen.float().mean((0, 1)) - RED).abs().max() < 25


def test_labels_belong_to_their_people(clips):
    batch = TrainingSteps(clips, 8, 0, 0, 0, 0, 1)(0)
    for label, (example, person) in zip(batch.labels, batch.people.tolist()):
        np.testing.assert_array_equal(label, clips.examples[example].labels[person])
    assert torch.equal(batch.labels[:, JUMP - 1], batch.labels[:, BEND - 1])
    assert batch.labels.sum(1).min() == 1


def test_batches_depend_on_seed_epoch_and_step_alone(clips):
    step = TrainingSteps(clips, 8, 0, 1, 1, 0, 1)(0)
    assert same(step, TrainingSteps(clips, 8, 0, 1, 0, 0, 1)(1))
    (in_process,) = read_all(TrainingSteps(clips, 8, 0, 1, 1, 0, 1), 1, workers=1)
    assert same(step, in_process)
    halves = [TrainingSteps(clips, 8, 0, 1, 1, rank, 2)(0) for rank in (0, 1)]
    assert torch.equal(step.clips, torch.cat([half.clips for half in halves]))
    for other in (TrainingSteps(clips, 8, 1, 1, 1, 0, 1)(0), TrainingSteps(clips, 8, 0, 2, 1, 0, 1)(0)):
        assert not torch.equal(step.clips, other.clips)


def test_a_film_that_cannot_be_read_is_replaced_and_named(clips, tmp_path):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"nothing")
    first = clips.examples[0].film
    info = dataclasses.replace(clips.films[first].source, path=str(broken))
    films = {**clips.films, first: dataclasses.replace(clips.films[first], source=info)}
    damaged = KeyFrameClips(clips.examples, films, SHAPE)
    batch = TrainingSteps(damaged, 8, 0, 0, 0, 0, 1)(0)
    assert len(batch.clips) == 8
    assert {path for path, _ in batch.failures} == {str(broken)}
    assert first not in {clips.examples[number].film for number in batch.people[:, 0].tolist()}
    with pytest.raises(DataError, match=r"too few films can be read to fill a batch: .*broken.mp4"):
        list(read_all(TrainingSteps(damaged, 16, 0, 0, 0, 0, 1), 1, workers=0))


def test_a_test_clip_is_the_whole_frame(clips):
    groups = chunks(clips.examples, range(len(clips.examples)), 3)
    assert sorted(number for group in groups for number in group) == list(range(16))
    assert all(len({clips.examples[number].film for number in group}) == 1 for group in groups)
    batch = EvaluationSteps(clips, groups)(0)
    assert batch.clips.shape == (3, 4, 48, 64, 3)
    example = clips.examples[groups[0][0]]
    np.testing.assert_allclose(batch.boxes[:2, 1:], example.boxes * [64, 48, 64, 48], rtol=1e-6)
    values = normalised(batch.clips, 0.45, 0.225)
    assert values.shape == (3, 3, 4, 48, 64)
    assert float(values[1, 2, 3, 10, 20]) == pytest.approx(
        (int(batch.clips[1, 3, 10, 20, 2]) / 255 - 0.45) / 0.225
    )


def test_detected_people_have_no_labels_and_empty_key_frames_are_left_out():
    people = {("film", 902): np.array([[0.1, 0.1, 0.5, 0.5, 0.9]]), ("film", 903): np.zeros((0, 5))}
    (example,) = detected(people, 80)
    assert example.key == ("film", 902)
    assert example.labels.shape == (1, 80)
    assert not example.labels.any()


def test_detections_with_actions_join_the_ground_truth():
    frames = [KeyFrame("film", 902, np.array([[0.1, 0.1, 0.5, 0.5]]), ((STAND,),), (0,))]
    boxes = np.array([[0.1, 0.1, 0.5, 0.6]] * 2 + [[0.6, 0.1, 0.9, 0.6], [0.0, 0.0, 0.5, 0.5]])
    table = BoxTable(
        (("film", 902),), np.zeros(4, int), boxes, np.array([JUMP, BEND, 0, JUMP]), np.array([1, 1, 0.9, 0.8])
    )
    (grown,) = with_labelled_detections(annotated(frames, 80), table, 0.9, 80)
    assert grown.boxes.tolist() == [[0.1, 0.1, 0.5, 0.5], [0.1, 0.1, 0.5, 0.6], [0.6, 0.1, 0.9, 0.6]]
    assert [np.flatnonzero(row).tolist() for row in grown.labels] == [[STAND - 1], [BEND - 1, JUMP - 1], []]


def test_missing_films_are_counted_and_key_frames_outside_refused(clips):
    said = []
    some = dict(list(clips.films.items())[:-3])
    kept = readable(clips.examples, some, "training", said.append)
    assert {example.film for example in kept} == some.keys() & {example.film for example in clips.examples}
    (line,) = said
    assert line.startswith("training: 1 film with 4 key frames missing, for example train-film_03")
    with pytest.raises(
        DataError, match=r"none of the 4 films with key frames for the test exists.*train-film_00"
    ):
        readable(clips.examples, {}, "test", said.append)
    moved = {name: dataclasses.replace(film, begins=904.5) for name, film in clips.films.items()}
    with pytest.raises(
        DataError, match=r"film_00.mp4: the key frame at second 902 is outside .* 904.5 to .*--begins"
    ):
        readable(clips.examples, moved, "training", said.append)
