"""Scores against numbers that were worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bodvcl.finetune.report import confusion_figure, most_confused
from bodvcl.finetune.scores import class_scores, label_scores, score


def test_accuracies_and_confusion():
    """Six classes, four videos: hits at place 1, 2, 6 and 1."""
    order = np.array([[0, 1, 2, 3, 4, 5], [2, 0, 1, 3, 4, 5], [1, 2, 3, 4, 5, 0], [3, 0, 1, 2, 4, 5]])
    probabilities = np.zeros((4, 6))
    for row, classes in enumerate(order):
        probabilities[row, classes] = [0.4, 0.25, 0.15, 0.1, 0.07, 0.03]
    found = class_scores(probabilities, np.array([0, 0, 0, 3]))
    assert found.metrics["top1"] == 2 / 4
    assert found.metrics["top5"] == 3 / 4
    assert found.metrics["mean_class"] == pytest.approx((1 / 3 + 1) / 2)  # classes 0 and 3 are tested
    assert next(iter(found.metrics)) == "top1"
    assert found.confusion.tolist()[0] == [1, 1, 1, 0, 0, 0]
    assert found.confusion.sum() == 4
    assert np.isnan(found.by_class[[1, 2, 4, 5]]).all()
    low, high = found.intervals["top1"]
    assert 0 < low < 0.5 < high < 1


def test_five_classes_have_no_top5():
    assert "top5" not in class_scores(np.eye(5), np.arange(5)).metrics
    assert class_scores(np.eye(5), np.arange(5)).metrics["top1"] == 1


def test_mean_average_precision():
    """Class 0: positives at ranks 1 and 3 of 4: (1/1 + 2/3) / 2. Class 1: at rank 2: 1/2. Class 2: none."""
    probabilities = np.array([[0.9, 0.1, 0.5], [0.8, 0.6, 0.4], [0.7, 0.5, 0.3], [0.6, 0.2, 0.2]])
    targets = np.array([[1, 0, 0], [0, 0, 0], [1, 1, 0], [0, 0, 0]], np.float32)
    found = label_scores(probabilities, targets)
    assert found.by_class[:2] == pytest.approx([(1 + 2 / 3) / 2, 1 / 2])
    assert np.isnan(found.by_class[2])
    assert found.metrics == {"map": pytest.approx(((1 + 2 / 3) / 2 + 1 / 2) / 2)}
    assert found.confusion is None
    assert score(probabilities, torch.from_numpy(targets)).metrics == found.metrics


def test_the_picture_of_many_classes_shows_those_that_are_confused():
    confusion = 5 * np.eye(100, dtype=np.int64)
    confusion[7, 93] = confusion[50, 51] = 3
    assert most_confused(confusion, 4).tolist() == [7, 50, 51, 93]
    figure = confusion_figure(confusion, [f"class $ {n}" for n in range(100)])
    assert "40 of 100 classes" in figure.axes[0].get_title()
    assert len(figure.axes[0].get_yticks()) == 40
    assert len(confusion_figure(confusion[:9, :9], [str(n) for n in range(9)]).axes[0].get_yticks()) == 9
