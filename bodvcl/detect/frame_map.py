"""Frame mAP of AVA: average precision of each action at an IoU of 0.5, and its mean over the actions.

The rules are those of the official evaluation, ``Evaluation/get_ava_performance.py`` and
``Evaluation/ava/`` in github.com/activitynet/ActivityNet (read at commit 1212804, not copied):

1. Only the classes of the label map count, 60 of 80 (``read_csv`` with ``class_whitelist``).
2. Excluded key frames count for nothing (``run_evaluation``). The caller leaves them out.
3. Of the rows of one key frame the 50 with the highest scores count, over all its boxes and classes together
   (``read_csv`` with ``capacity=50``). SlowFast has no such limit (``slowfast/utils/ava_eval_helper.py``), so
   results that were computed there compare with ``limit=None``.
4. Boxes without area are dropped, after rule 3 (``_remove_invalid_boxes``).
5. Key frames and classes are matched separately. In the order of their scores, each detection looks at the
   ground-truth box with which its IoU is highest, and at no other. It is a true positive if that IoU is 0.5
   or more and no earlier detection has taken the box; else it is a false positive
   (``_compute_tp_fp_for_single_class``). No box is suppressed because of another detection.
6. Detections in a key frame without ground truth are false positives (``add_single_detected_image_info``);
   ground truth without detection lowers the recall.
7. The AP is the area under the precision as a function of the recall, after each precision was replaced by
   the highest one at its recall or a higher one, as in PASCAL VOC from 2010 on
   (``compute_average_precision``).
8. A class without ground truth has no AP and is left out of the mean; one without detections has an AP of 0
   (``np.nanmean`` in ``evaluate``).

Where scores are equal, the official order depends on a heap and on an unstable sort. Here the row that comes
first in the table comes first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bodvcl.data.sets.ava_boxes import BoxTable

LIMIT = 50
"""Rows of a key frame that count officially."""
IOU = 0.5


@dataclass(frozen=True)
class FrameMap:
    """Frame mAP and what it is made of.

    Attributes:
        mean: mean of the APs, in [0, 1]; NaN if no class has ground truth.
        ap: class to AP in [0, 1]; NaN for a class without ground truth.
        positives: class to number of its ground-truth boxes.
    """

    mean: float
    ap: dict[int, float]
    positives: dict[int, int]


def frame_map(
    truth: BoxTable, found: BoxTable, classes: Sequence[int], *, limit: int | None = LIMIT
) -> FrameMap:
    """Evaluate detections of actions.

    Args:
        truth: ground truth; its scores are not used.
        found: detections.
        classes: official numbers of the classes that count.
        limit: most rows of one key frame that count, rule 3. None: all.
    """
    wanted = np.array(sorted(classes), np.int64)
    truth, found = (table.rows(np.isin(table.actions, wanted)) for table in (truth, found))
    found = found.numbered_as(truth.keys)
    if limit is not None:
        found = found.rows(_highest(found, limit))
    x1, y1, x2, y2 = found.boxes.T
    found = found.rows((x1 < x2) & (y1 < y2))
    order = np.argsort(-found.scores, kind="stable")
    found = found.rows(order)
    true = _true_positives(truth, found, len(wanted), wanted)
    positives = {int(c): int((truth.actions == c).sum()) for c in wanted}
    ap = {c: average_precision(true[found.actions == c], count) for c, count in positives.items()}
    known = [value for value in ap.values() if not np.isnan(value)]
    return FrameMap(float(np.mean(known)) if known else float("nan"), ap, positives)


def average_precision(true: np.ndarray, positives: int) -> float:
    """Area under the monotone precision-recall curve, rule 7.

    Args:
        true: bool (detections,), true or false positive, by falling score.
        positives: number of ground-truth boxes.

    Returns:
        A share in [0, 1]; NaN without ground truth.
    """
    if positives == 0:
        return float("nan")
    precision = np.cumsum(true) / np.arange(1, len(true) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float(envelope[true].sum() / positives)  # every true positive adds 1 / positives to the recall


def intersection_over_union(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """IoU of boxes ``(..., 4)`` with boxes of a shape that broadcasts; x1, y1, x2, y2."""
    sides = np.minimum(one[..., 2:], other[..., 2:]) - np.maximum(one[..., :2], other[..., :2])
    shared = np.maximum(sides, 0).prod(-1)
    areas = [(boxes[..., 2:] - boxes[..., :2]).prod(-1) for boxes in (one, other)]
    ious: np.ndarray = shared / (areas[0] + areas[1] - shared)
    return ious


def _highest(found: BoxTable, limit: int) -> np.ndarray:
    """Positions, in their order, of the ``limit`` rows with the highest scores of each key frame."""
    order = np.lexsort((-found.scores, found.frames))  # stable: the first of equal rows comes first
    frames = found.frames[order]
    begins = np.flatnonzero(np.diff(frames, prepend=-1))
    lengths = np.diff(begins, append=len(frames))
    rank = np.arange(len(frames)) - np.repeat(begins, lengths)
    return np.sort(order[rank < limit])


def _true_positives(truth: BoxTable, found: BoxTable, count: int, wanted: np.ndarray) -> np.ndarray:
    """bool: which detections are true positives, rule 5; ``found`` is sorted by falling score."""
    cells, sought = (t.frames * count + np.searchsorted(wanted, t.actions) for t in (truth, found))
    by_cell = np.argsort(cells, kind="stable")
    boxes, cells = truth.boxes[by_cell], cells[by_cell]
    begins = np.searchsorted(cells, sought, side="left")
    lengths = np.searchsorted(cells, sought, side="right") - begins
    rows = np.flatnonzero(lengths)  # detections in a key frame and class with ground truth
    begins, lengths = begins[rows], lengths[rows]
    true = np.zeros(len(found), bool)
    if not len(rows):
        return true
    starts = np.cumsum(lengths) - lengths  # of each detection's pairs
    pair_row = np.repeat(np.arange(len(rows)), lengths)
    pair_truth = begins[pair_row] + np.arange(len(pair_row)) - starts[pair_row]
    ious = intersection_over_union(found.boxes[rows][pair_row], boxes[pair_truth])
    best = np.maximum.reduceat(ious, starts)
    at_best = np.flatnonzero(ious == best[pair_row])
    first = at_best[np.unique(pair_row[at_best], return_index=True)[1]]
    close = np.flatnonzero(best >= IOU)
    takers = np.unique(pair_truth[first][close], return_index=True)[1]  # the first: the highest score
    true[rows[close[takers]]] = True
    return true
