"""Frame mAP: cases worked out by hand, a plain reference that follows the rules one by one, and sklearn."""

from __future__ import annotations

import numpy as np
import pytest

from bodvcl.data.sets.ava_boxes import BoxTable
from bodvcl.detect.frame_map import average_precision, frame_map, intersection_over_union

BOX = (0.0, 0.0, 0.5, 0.5)
OTHER = (0.5, 0.5, 1.0, 1.0)


def table(*rows: tuple[int, tuple[float, ...], int, float]) -> BoxTable:
    """Rows of (second, box, action, score) of one film."""
    keys = tuple(dict.fromkeys(("film", second) for second, *_ in rows))
    return BoxTable(
        keys,
        np.array([keys.index(("film", second)) for second, *_ in rows], np.int64),
        np.array([box for _, box, _, _ in rows], float).reshape(-1, 4),
        np.array([action for _, _, action, _ in rows], np.int64),
        np.array([score for *_, score in rows], float),
    )


def ap(truth: BoxTable, found: BoxTable, action: int = 1) -> float:
    return frame_map(truth, found, [action]).ap[action]


TWO = table((902, BOX, 1, 1), (903, BOX, 1, 1))


def test_perfect_detections():
    result = frame_map(TWO, table((902, BOX, 1, 0.2), (903, BOX, 1, 0.9)), [1])
    assert result.mean == result.ap[1] == 1
    assert result.positives == {1: 2}


def test_half_found():
    assert ap(TWO, table((902, BOX, 1, 0.2))) == 0.5


def test_a_duplicate_is_a_false_positive():
    """Precision 1, 1/2, 2/3 at recall 1/2, 1/2, 1: area 1/2 + 2/3 / 2."""
    found = table((902, BOX, 1, 0.9), (902, BOX, 1, 0.8), (903, BOX, 1, 0.7))
    assert ap(TWO, found) == pytest.approx(1 / 2 + 1 / 3)


def test_a_duplicate_of_a_higher_score_takes_the_box_in_any_order_of_rows():
    close = (0.0, 0.0, 0.5, 0.4)  # IoU 0.8
    found = table((902, BOX, 1, 0.5), (902, close, 1, 0.9))
    assert ap(table((902, BOX, 1, 1)), found) == 1


def test_a_detection_looks_only_at_its_best_box():
    """Both detections are closest to the left box; the right one, at an IoU of 0.5 or more, stays unfound."""
    left, right = (0.0, 0.0, 0.5, 0.5), (0.0, 0.0, 0.5, 0.75)
    between = (0.0, 0.0, 0.5, 0.55)  # 0.909 with left, 0.733 with right
    truth = table((902, left, 1, 1), (902, right, 1, 1))
    assert ap(truth, table((902, between, 1, 0.9), (902, between, 1, 0.8))) == 0.5


def test_the_wrong_class_and_a_class_without_ground_truth():
    result = frame_map(TWO, table((902, BOX, 2, 0.9), (903, BOX, 1, 0.5)), [1, 2, 3])
    assert result.ap[1] == 0.5
    assert np.isnan([result.ap[2], result.ap[3]]).all()
    assert result.mean == 0.5


def test_no_detection_is_an_ap_of_zero():
    both = table((902, BOX, 1, 1), (902, BOX, 2, 1))
    result = frame_map(both, table((902, BOX, 1, 0.5)), [1, 2])
    assert (result.ap, result.mean) == ({1: 1.0, 2: 0.0}, 0.5)
    assert frame_map(both, table(), [1, 2]).mean == 0
    assert np.isnan(frame_map(table(), both, [1, 2]).mean)


@pytest.mark.parametrize(("height", "expected"), [(0.25, 1.0), (0.2499, 0.0)])
def test_an_iou_of_exactly_one_half_is_enough(height, expected):
    assert ap(table((902, BOX, 1, 1)), table((902, (0.0, 0.0, 0.5, height), 1, 0.9))) == expected


def test_equal_scores_keep_the_order_of_the_rows():
    """True then false positive: AP 1; the other way round: precision 1/2."""
    truth = table((902, BOX, 1, 1))
    hit, miss = (902, BOX, 1, 0.5), (902, OTHER, 1, 0.5)
    assert ap(truth, table(hit, miss)) == 1
    assert ap(truth, table(miss, hit)) == 0.5


def test_a_key_frame_that_is_not_annotated_has_false_positives():
    truth = table((902, BOX, 1, 1))
    assert ap(truth, table((950, BOX, 1, 0.9), (902, BOX, 1, 0.5))) == 0.5


def test_other_classes_do_not_count():
    truth = table((902, BOX, 1, 1), (902, BOX, 80, 1))
    assert frame_map(truth, table((902, BOX, 1, 0.5)), [1]).mean == 1


def test_only_the_highest_fifty_rows_of_a_key_frame_count():
    """50 false positives of class 2 with higher scores push the detection of class 1 out."""
    truth = table((902, BOX, 1, 1), (902, BOX, 2, 1))
    crowd = [(902, OTHER, 2, 0.9)] * 49
    hit = (902, BOX, 1, 0.5)
    assert frame_map(truth, table(*crowd, hit), [1, 2]).ap[1] == 1
    assert frame_map(truth, table(*crowd, (902, OTHER, 2, 0.6), hit), [1, 2]).ap[1] == 0
    assert frame_map(truth, table(*crowd, (902, OTHER, 2, 0.6), hit), [1, 2], limit=None).ap[1] == 1
    assert frame_map(truth, table(*[(902, OTHER, 3, 0.9)] * 50, hit), [1, 2]).ap[1] == 1  # 3 does not count


def test_boxes_without_area_are_dropped():
    empty = (0.2, 0.2, 0.2, 0.4)
    assert ap(table((902, BOX, 1, 1)), table((902, empty, 1, 0.9), (902, BOX, 1, 0.5))) == 1


# ------------------------------------------------------------------ references


def plain(truth: BoxTable, found: BoxTable, classes: list[int], limit: int | None) -> dict[int, float]:
    """The rules one after the other, with loops."""
    rows = [
        (found.keys[f], box, a, s)
        for f, box, a, s in zip(found.frames, found.boxes, found.actions, found.scores)
        if a in classes
    ]
    kept = []
    for key in dict.fromkeys(row[0] for row in rows):
        here = sorted((row for row in rows if row[0] == key), key=lambda row: -row[3])
        kept += here[:limit]
    result = {}
    for c in classes:
        boxes = {}
        for f, box, a in zip(truth.frames, truth.boxes, truth.actions):
            if a == c:
                boxes.setdefault(truth.keys[f], []).append(box)
        count = sum(map(len, boxes.values()))
        taken, hits, area = set(), 0, []
        of_class = sorted((row for row in kept if row[2] == c), key=lambda row: -row[3])
        for place, (key, box, _, _) in enumerate(of_class):
            ious = [float(intersection_over_union(np.array(box), np.array(b))) for b in boxes.get(key, [])]
            best = int(np.argmax(ious)) if ious else -1
            hit = best >= 0 and ious[best] >= 0.5 and (key, best) not in taken
            if hit:
                taken.add((key, best))
            hits += hit
            area.append((hits / max(count, 1), hits / (place + 1)))
        total, before = 0.0, 0.0
        for place, (recall, _) in enumerate(area):
            total += (recall - before) * max(precision for _, precision in area[place:])
            before = recall
        result[c] = total if count else float("nan")
    return result


def random_tables(seed: int) -> tuple[BoxTable, BoxTable]:
    rng = np.random.default_rng(seed)

    def some(count: int, keys: int) -> BoxTable:
        corner = rng.integers(0, 3, (count, 2)) / 4
        size = rng.uniform(0.15, 0.3, (count, 2))
        return BoxTable(
            tuple(("film", 902 + second) for second in range(keys)),
            rng.integers(0, keys, count),
            np.concatenate([corner, np.minimum(corner + size, 1)], 1),
            rng.integers(1, 6, count),
            rng.permutation(count) / count,  # no two are equal: then the order is defined
        )

    return some(160, 8), some(300, 10)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("limit", [None, 20])
def test_a_plain_reference_agrees(seed, limit):
    truth, found = random_tables(seed)
    expected = plain(truth, found, [1, 2, 3, 4], limit)
    result = frame_map(truth, found, [1, 2, 3, 4], limit=limit)
    assert 0.05 < result.mean < 0.95
    for action, value in expected.items():
        assert result.ap[action] == pytest.approx(value, abs=1e-12)


def test_sklearn_agrees_where_precision_never_rises():
    """sklearn has no envelope. With ever more false positives between the true ones, precision falls from one
    true positive to the next, and the envelope changes nothing; in another order sklearn's value is lower."""
    from sklearn.metrics import average_precision_score

    falling = np.zeros(210, bool)
    falling[np.cumsum(np.arange(20))] = True
    scores = np.linspace(1, 0, len(falling))
    ours = average_precision(falling, 20)
    assert 0.1 < ours < 0.9
    assert ours == pytest.approx(average_precision_score(falling, scores), abs=1e-12)
    assert ours / 2 == average_precision(falling, 40)  # half of the ground truth has no detection
    mixed = np.random.default_rng(0).permutation(falling)
    assert average_precision_score(mixed, scores) < average_precision(mixed, 20)


def test_the_size_of_ava_takes_seconds():
    """57,000 key frames with four people and 60 classes are 14 million rows; a twentieth of them here."""
    import time

    rng = np.random.default_rng(0)
    frames, people = 3000, 4
    corner = rng.uniform(0, 0.5, (frames * people, 2))
    boxes = np.concatenate([corner, corner + 0.4], 1)
    keys = tuple(("film", second) for second in range(frames))
    frame = np.repeat(np.arange(frames), people)
    classes = np.arange(1, 61)
    found = BoxTable(
        keys, np.repeat(frame, 60), np.repeat(boxes, 60, 0), np.tile(classes, len(frame)),
        rng.random(60 * len(frame)),
    )  # fmt: skip
    truth = BoxTable(keys, frame, boxes, rng.integers(1, 61, len(frame)), np.ones(len(frame)))
    start = time.process_time()
    result = frame_map(truth, found, classes.tolist(), limit=None)
    assert result.mean > 0
    assert time.process_time() - start < 10  # measured: 1 s
