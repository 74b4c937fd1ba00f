"""Predictions as a table, a file and frame mAP; the pictures."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from detect.tiny_ava import BEGINS, JUMP, STAND, WALK

from bodvcl.data.sets.ava import read_ava_actions, read_ava_keyframes, truth_table
from bodvcl.data.sets.ava_boxes import box_file, read_box_table
from bodvcl.detect.annotations import Annotations
from bodvcl.detect.clips import ClipShape, KeyFrameClips
from bodvcl.detect.examples import annotated
from bodvcl.detect.films import open_films
from bodvcl.detect.outputs import CLASSES, PICTURES, PREDICTIONS, write_outputs
from bodvcl.detect.picture import KeyFramePicture, key_frame_sheet
from bodvcl.detect.scores import DetectionTest, People, evaluate, from_all_ranks, predictions
from bodvcl.detect.task import every_fourth_second
from bodvcl.engine.ranks import Ranks, World
from bodvcl.errors import DataError


@pytest.fixture(scope="module")
def made(ava_folder) -> Annotations:
    frames = read_ava_keyframes(ava_folder, "val")
    return Annotations(
        [], annotated(frames, 80), truth_table(frames), read_ava_actions(ava_folder), "ground-truth"
    )


def people(made: Annotations, noise: float) -> People:
    """Everybody with his labels as scores, and some noise."""
    rng = np.random.default_rng(0)
    who = np.array([(n, p) for n, example in enumerate(made.test) for p in range(len(example.boxes))])
    labels = np.concatenate([example.labels for example in made.test])
    return People(who, (0.4 * labels + noise * rng.random(labels.shape)).astype(np.float32))


def test_right_scores_are_perfect_and_random_ones_are_not(made):
    assert len(made.actions.evaluated) == 3
    right = evaluate(
        made.truth, predictions(people(made, 0.1), made.test, made.actions.evaluated), made.actions
    )
    assert right.metrics() == {"mAP": 1.0, "mAP_unlimited": 1.0}
    everybody = people(made, 0.1)
    shuffled = dataclasses.replace(everybody, scores=np.random.default_rng(1).permutation(everybody.scores))
    wrong = evaluate(made.truth, predictions(shuffled, made.test, made.actions.evaluated), made.actions)
    assert wrong.official.mean < 0.8


def test_the_file_has_the_same_frame_map_as_the_scores(made, tmp_path):
    found = predictions(people(made, 0.9), made.test, made.actions.evaluated)
    (tmp_path / "found.csv").write_bytes(box_file(found))
    now, later = (
        evaluate(made.truth, t, made.actions) for t in (found, read_box_table(tmp_path / "found.csv"))
    )
    assert 0.2 < now.official.mean < 1
    assert now.metrics() == later.metrics()
    assert now.csv() == later.csv()


def test_classes_that_do_not_count_are_not_written(made):
    found = predictions(people(made, 0.1), made.test, made.actions.evaluated)
    assert set(found.actions.tolist()) == {STAND, WALK, JUMP}
    assert len(found) == 3 * sum(len(example.boxes) for example in made.test)


def test_parts_of_ranks_are_put_in_order(made):
    everybody = people(made, 0.5)
    mixed = np.random.default_rng(2).permutation(len(everybody.who))
    parts = People(everybody.who[mixed], everybody.scores[mixed])
    whole = from_all_ranks(parts, Ranks(World(), torch.device("cpu")))
    np.testing.assert_array_equal(whole.who, everybody.who)
    np.testing.assert_array_equal(whole.scores, everybody.scores)


def test_another_split_and_no_class(made):
    found = predictions(people(made, 0.1), made.test, made.actions.evaluated)
    other = dataclasses.replace(found, keys=tuple((f"x{film}", second) for film, second in found.keys))
    with pytest.raises(DataError, match="no key frame in common: is the file of another split"):
        evaluate(made.truth, other, made.actions)
    with pytest.raises(DataError, match="no action that counts"):
        evaluate(made.truth, found, dataclasses.replace(made.actions, evaluated=(77,)))


def test_validation_takes_every_fourth_second_where_it_holds_an_action(made):
    numbers, truth = every_fourth_second(made.test, made.truth, made.actions)
    assert {made.test[number].second for number in numbers} == {904}  # excluded in one film
    assert {
        key for key, count in zip(truth.keys, np.bincount(truth.frames, minlength=len(truth.keys))) if count
    } == {("val-film_01", 904)}
    odd = [example for example in made.test if example.second % 4]
    numbers, truth = every_fourth_second(odd, made.truth, made.actions)
    assert list(numbers) == list(range(len(odd)))
    assert truth is made.truth


def test_what_is_left_in_the_folder(made, ava_folder, tmp_path):
    everybody = people(made, 0.1)
    found = predictions(everybody, made.test, made.actions.evaluated)
    films = open_films(f"ava:{ava_folder}", ava_folder, extracted=False, begins=BEGINS, workers=0)
    clips = KeyFrameClips(made.test, films, ClipShape(4, 1, 10.0, 32, (36, 44), 0.5, 48))
    tested = DetectionTest(everybody, found, evaluate(made.truth, found, made.actions))
    write_outputs(tmp_path, tested, made, clips, pictures=3)
    assert sorted(path.name for path in tmp_path.iterdir()) == [CLASSES, PICTURES, PREDICTIONS]
    lines = (tmp_path / CLASSES).read_text().splitlines()
    assert lines[0] == "action,name,boxes,ap,ap_unlimited"
    assert [line.split(",")[0] for line in lines[1:]] == [str(STAND), str(WALK), str(JUMP)]
    assert (tmp_path / PICTURES).read_bytes().startswith(b"\x89PNG")


def test_boxes_and_names_of_a_picture():
    image = np.zeros((40, 80, 3), np.uint8)
    scores = np.zeros((1, 80))
    scores[0, [11, 13]] = 0.75, 0.5
    picture = KeyFramePicture(
        "film 902",
        image,
        np.array([[0.25, 0.5, 0.5, 1.0]]),
        [["stand", "walk"]],
        np.array([[0, 0, 0.5, 0.5]]),
        scores,
    )
    figure = key_frame_sheet([picture] * 5, {11: "stand", 13: "walk", 79: "jump"})
    drawn = [axes for axes in figure.axes if axes.patches]
    assert len(figure.axes) == 8
    assert len(drawn) == 5
    truth, found = drawn[0].patches
    assert (truth.get_x(), truth.get_y(), truth.get_width(), truth.get_height()) == (19.5, 19.5, 20, 20)
    assert (found.get_x(), found.get_y(), found.get_width(), found.get_height()) == (-0.5, -0.5, 40, 20)
    assert [text.get_text() for text in drawn[0].texts] == ["stand, walk", "stand 0.75, walk 0.50, jump 0.00"]
