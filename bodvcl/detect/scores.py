"""Scores of people, from all ranks, as a table of predictions and as frame mAP."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from bodvcl.data.sets.ava import AvaActions
from bodvcl.data.sets.ava_boxes import BoxTable
from bodvcl.detect.examples import Example
from bodvcl.detect.frame_map import FrameMap, frame_map
from bodvcl.detect.reading import DetectionBatch, normalised
from bodvcl.detect.roi_head import ActionDetector
from bodvcl.engine.ranks import Ranks
from bodvcl.errors import DataError
from bodvcl.text.tables import Listing, Row


@dataclass(frozen=True)
class People:
    """K scored people.

    Attributes:
        who: int64 (K, 2): number of the example, and which of its people.
        scores: float32 (K, actions) in [0, 1].
        failures: (path, reason) of films that could not be read.
    """

    who: np.ndarray
    scores: np.ndarray
    failures: tuple[tuple[str, str], ...] = ()


def score_people(
    model: ActionDetector,
    batches: Iterable[DetectionBatch],
    device: torch.device,
    mean: float,
    std: float,
) -> People:
    """Score everybody in some batches. The model is in evaluation mode.

    Args:
        model: the network, on ``device``.
        batches: clips with boxes.
        device: where it runs.
        mean, std: normalisation of the clips.
    """
    who, scores = [np.zeros((0, 2), np.int64)], [np.zeros((0, model.head.out_features), np.float32)]
    failures: list[tuple[str, str]] = []
    for batch in batches:
        failures += batch.failures
        if len(batch.people):
            moved = batch.to(device)
            logits = model(normalised(moved.clips, mean, std), moved.boxes)
            scores.append(logits.float().sigmoid().cpu().numpy())
            who.append(batch.people.numpy())
    return People(np.concatenate(who), np.concatenate(scores), tuple(dict.fromkeys(failures)))


def from_all_ranks(people: People, ranks: Ranks) -> People | None:
    """Those of all ranks together on rank 0, in the order of the examples; None on the others."""
    parts = ranks.gathered(people)
    if not ranks.first:
        return None
    who, scores = (np.concatenate([getattr(part, name) for part in parts]) for name in ("who", "scores"))
    order = np.lexsort((who[:, 1], who[:, 0]))
    failures = dict.fromkeys(failure for part in parts for failure in part.failures)
    return People(who[order], scores[order], tuple(failures))


def predictions(people: People, examples: Sequence[Example], actions: Sequence[int]) -> BoxTable:
    """One row per person and action, with scores of six significant digits, as they are written to a file.

    Args:
        people: scored people.
        examples: their key frames.
        actions: official numbers of the actions that are wanted.
    """
    columns = np.array(actions, np.int64)
    boxes = np.array([examples[example].boxes[person] for example, person in people.who], np.float64)
    flat = people.scores[:, columns - 1].astype(np.float64).ravel()
    return BoxTable(
        tuple(example.key for example in examples),
        np.repeat(people.who[:, 0], len(columns)),
        np.repeat(boxes.reshape(-1, 4), len(columns), axis=0),
        np.tile(columns, len(people.who)),
        np.array([float(f"{score:.6g}") for score in flat.tolist()], np.float64),
    )


@dataclass(frozen=True)
class Evaluation:
    """Frame mAP by the official rules, and as SlowFast computes it.

    Attributes:
        official: at most 50 rows of each key frame count.
        unlimited: all rows count.
        actions: the label map.
    """

    official: FrameMap
    unlimited: FrameMap
    actions: AvaActions

    def metrics(self) -> dict[str, float]:
        """What ``results.json`` holds."""
        return {"mAP": self.official.mean, "mAP_unlimited": self.unlimited.mean}

    def csv(self) -> str:
        """AP of each class as CSV: action, name, boxes in the ground truth, AP, AP without the limit."""
        lines = ["action,name,boxes,ap,ap_unlimited"]
        for action, ap in self.official.ap.items():
            name = self.actions.names[action].replace('"', '""')
            values = ",".join("" if math.isnan(x) else f"{x:.6f}" for x in (ap, self.unlimited.ap[action]))
            lines.append(f'{action},"{name}",{self.official.positives[action]},{values}')
        return "\n".join(lines) + "\n"

    def tables(self) -> Iterator[Listing]:
        """For the terminal: AP of each class with ground truth, and the mean."""
        columns = ("boxes", "AP", "unlimited")
        rows = [
            Row(
                [self.actions.names[action]], {"boxes": f"{count:,}"} | _values(ap, self.unlimited.ap[action])
            )
            for action, ap in self.official.ap.items()
            if (count := self.official.positives[action])
        ]
        rows[-1:] = [Row(rows[-1].names, rows[-1].values, last=True)] if rows else []
        mean = Row(["mean"], _values(self.official.mean, self.unlimited.mean), style="bold")
        empty = sum(count == 0 for count in self.official.positives.values())
        without = f"; {empty} without ground truth are left out" if empty else ""
        title = (
            f"Frame AP in % at an IoU of 0.5, {len(self.official.ap)} actions{without}. AP: officially, 50 "
            "scores of each key frame count. unlimited: all count, as in SlowFast"
        )
        yield Listing(title, ["action"], columns, [*rows, mean])


def _values(ap: float, unlimited: float) -> dict[str, str]:
    return {"AP": f"{100 * ap:.2f}", "unlimited": f"{100 * unlimited:.2f}"}


class DetectionTest(NamedTuple):
    """A test.

    Attributes:
        people: scores of all actions, of everybody.
        found: predictions of the actions that count.
        evaluation: their frame mAP.
    """

    people: People
    found: BoxTable
    evaluation: Evaluation


def evaluate(truth: BoxTable, found: BoxTable, actions: AvaActions) -> Evaluation:
    """Frame mAP of predictions.

    Raises:
        DataError: no class that counts has ground truth, or predictions and ground truth have no key frame in
            common.
    """
    if not set(truth.keys) & {found.keys[frame] for frame in np.unique(found.frames)}:
        raise DataError(
            "the predictions and the ground truth have no key frame in common: is the file of another split?"
        )
    official = frame_map(truth, found, actions.evaluated)
    if math.isnan(official.mean):
        raise DataError("no action that counts occurs in the ground truth: there is nothing to evaluate")
    return Evaluation(official, frame_map(truth, found, actions.evaluated, limit=None), actions)
