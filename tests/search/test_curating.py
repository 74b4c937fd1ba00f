"""Near pairs, copies, outliers, clusters and labels on rows whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from made_embeddings import embeddings, looks_and_movements, mixture

from bodvcl.errors import ConfigError
from bodvcl.search import neighbours
from bodvcl.search.clusters import k_means
from bodvcl.search.duplicates import copies
from bodvcl.search.labels import agreement, shared_labels, sharing
from bodvcl.search.neighbours import near_pairs, nearest
from bodvcl.search.outliers import outliers
from bodvcl.search.space import Space


def test_near_pairs_and_nearest_rows_are_those_of_the_whole_matrix() -> None:
    space = Space(mixture(1200, (12, 8)))
    joint, video = space.joint(0.5), np.arange(1200) // 3
    scores = joint @ joint.T
    scores[video[:, None] == video] = -np.inf
    rows, others, found = near_pairs(joint, video, 0.8)
    assert set(zip(rows.tolist(), others.tolist())) == set(zip(*np.nonzero(np.triu(scores > 0.8))))
    np.testing.assert_allclose(found, scores[rows, others], atol=1e-6)
    best, numbers = nearest(joint, video, 5)
    np.testing.assert_array_equal(numbers, np.argsort(-scores, axis=1)[:, :5])
    np.testing.assert_allclose(best, np.take_along_axis(scores, numbers, 1), atol=1e-6)


def test_cells_find_nearly_all_of_them_with_exact_scores() -> None:
    space = Space(mixture(4000, (24, 16)))
    joint, video = space.joint(0.5), np.arange(4000) // 2
    rows, others, scores = near_pairs(joint, video, 0.75, exact=0)
    truth = near_pairs(joint, video, 0.75)
    pairs, all_pairs = (
        set(zip(rows.tolist(), others.tolist())),
        set(zip(*(part.tolist() for part in truth[:2]))),
    )
    assert len(all_pairs) > 1000
    assert pairs <= all_pairs
    assert len(pairs) > 0.97 * len(all_pairs)
    np.testing.assert_allclose(scores, np.einsum("rd,rd->r", joint[rows], joint[others]), atol=1e-6)
    best, numbers = nearest(joint, video, 5, exact=0)
    assert not (video[numbers] == video[:, None]).any()
    assert np.mean(numbers[:, 0] == nearest(joint, video, 5)[1][:, 0]) > 0.97
    np.testing.assert_allclose(best, np.einsum("rd,rkd->rk", joint, joint[numbers]), atol=1e-6)


def test_too_many_pairs_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "MOST_PAIRS", 10)
    with pytest.raises(ConfigError, match=r"--above 0\.1: more than 10 pairs"):
        near_pairs(Space(looks_and_movements()).joint(0), np.arange(12), 0.1)


def _pairs(*found: tuple[int, int, float]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rows, others, scores = zip(*found)
    return np.array(rows), np.array(others), np.array(scores)


def test_the_largest_file_is_kept_and_every_copy_is_near_to_one_that_is() -> None:
    rows = embeddings(np.zeros((5, 2)), np.zeros((5, 2)), size=[10, 30, 20, 5, 5])
    chain = _pairs((0, 2, 0.96), (1, 2, 0.97), (3, 4, 1.0))  # 0 is near to 2, and 2 to 1, but 0 not to 1
    assert copies(rows, chain) == [(2, 1, 0.97), (4, 3, 1.0)]


def test_a_part_of_a_longer_video_is_a_copy_and_a_shared_scene_is_not() -> None:
    rows = embeddings(
        np.zeros((7, 2)),
        np.zeros((7, 2)),
        video=[0, 0, 0, 1, 1, 2, 2],
        size=[9, 9, 9, 50, 50, 8, 8],
        window=2.0,
    )
    part = _pairs((1, 3, 0.96), (2, 4, 0.99), (0, 5, 1.0))
    assert copies(rows, part) == [(3, 0, 0.96)]


def test_a_row_apart_is_the_first_outlier() -> None:
    rng = np.random.default_rng(0)
    still = np.repeat(np.eye(3, 8), 8, 0) + 0.05 * rng.normal(size=(24, 8))
    dynamic = np.repeat(np.eye(3, 8), 8, 0) + 0.05 * rng.normal(size=(24, 8))
    still[13] = -1
    space = Space(embeddings(still, dynamic))
    found = outliers(space, 0, 5)
    assert found[0].row == 13
    assert len(found) == 24
    scores = np.delete(space.units["appearance"] @ space.units["appearance"][13], 13)
    assert found[0].distance == pytest.approx(1 - np.sort(scores)[-5:].mean(), abs=1e-6)
    assert found[0].score == pytest.approx(scores.max(), abs=1e-6)
    assert outliers(space, 1, 5)[0].row != 13
    assert np.isfinite([one.distance for one in outliers(space, 0.5, 100)]).all()


def test_clusters_by_appearance_are_scenes_and_by_motion_gestures() -> None:
    space = Space(looks_and_movements())
    labels = space.embeddings.labels
    looks, moves = k_means(space, 0, 3), k_means(space, 1, 4)
    assert agreement(looks.of, labels["scene"]) == pytest.approx((1, 1 / 3, 1))
    assert agreement(moves.of, labels["gesture"]) == pytest.approx((1, 3 / 11, 1))
    assert agreement(looks.of, labels["gesture"]).nmi < 0.2
    assert agreement(looks.of, ["same"] * 12) is None
    assert np.bincount(k_means(space, 1, 3).of).tolist() == [6, 3, 3]
    row = int(looks.central(0, 1)[0])
    assert looks.distance[row] == looks.distance[looks.of == 0].min()
    with pytest.raises(ConfigError, match="12 different rows"):
        k_means(space, 0.5, 13)


def test_shared_labels_are_counted_of_those_that_are_known() -> None:
    rows = looks_and_movements()
    assert shared_labels(rows, 5, [4, 1, 9]) == {"scene": (1, 3), "gesture": (1, 2)}
    assert shared_labels(rows, 9, [4, 1, 5]) == {"scene": (0, 3)}


def test_sharing_counts_neighbours_with_the_label_of_the_row() -> None:
    labels = ["a", "a", "b", "b", None]
    numbers = np.array([[1, 2], [0, 4], [3, -1], [0, 1], [0, 1]])
    shared, chance = sharing(labels, numbers)
    assert shared == pytest.approx(3 / 6)  # of row 0: 1 of 2; row 1: 1 of 1; row 2: 1 of 1; row 3: 0 of 2
    assert chance == pytest.approx(4 / 12)
    assert sharing(["a"] * 5, numbers) is None
    assert sharing([None] * 5, numbers) is None
