"""From features and chosen labels to scores: the same rows, whatever could be read."""

from __future__ import annotations

import numpy as np
import torch

from bodvcl.evaluate.columns import LabelChoice
from bodvcl.evaluate.features import VideoFeatures
from bodvcl.evaluate.label_scores import score_labels
from bodvcl.evaluate.splits import Division


def features_of(rows: list[int], classes: list[int]) -> VideoFeatures:
    """A feature that is the class of each video in the list, with a little noise."""
    noise = torch.randn(len(rows), generator=torch.Generator().manual_seed(0))
    values = torch.tensor([classes[row] for row in rows], dtype=torch.float32) + 0.01 * noise
    return VideoFeatures(np.array(rows), {"backbone": values[:, None], "static": values[:, None]})


def test_features_and_labels_meet_although_some_videos_are_missing() -> None:
    # Eight videos; 0 and 7 are outside the division, 3 could not be read. Classes alternate in pairs.
    classes = [9, 0, 1, 0, 1, 0, 1, 9]
    division = Division(np.arange(1, 7), np.array([True, True, True, False, False, False]), "")
    labels = {"x": [str(classes[row]) for row in range(1, 7)]}
    choice = LabelChoice(division, labels, {"camera": "all videos have the same label"})
    found = features_of([0, 1, 2, 4, 5, 6, 7], classes)
    scores = score_labels(found, choice, ("backbone", "static"), ("knn",), seed=0, k=1)
    probed = [score for score in scores if not score.skipped]
    assert [(s.features, s.train, s.test, s.value) for s in probed] == [
        ("backbone", 2, 3, 1.0), ("static", 2, 3, 1.0)
    ]  # fmt: skip
    assert [(s.features, s.semantic, s.skipped) for s in scores if s.skipped] == [
        (kind, "camera", "all videos have the same label") for kind in ("backbone", "static")
    ]


def test_features_of_some_videos_keep_their_rows() -> None:
    found = features_of([0, 2, 5], [0, 0, 1, 0, 0, 2])
    some = found.only(np.array([2, 5]))
    assert some.rows.tolist() == [2, 5]
    assert torch.equal(some.kinds["backbone"], found.kinds["backbone"][1:])
