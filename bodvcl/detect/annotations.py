"""What the files of AVA and of detections say: key frames to train and to test on. No film is opened."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bodvcl.data.sets.ava import (
    AvaActions,
    KeyFrame,
    read_ava_actions,
    read_ava_excluded,
    read_ava_keyframes,
    truth_table,
)
from bodvcl.data.sets.ava_boxes import BoxTable, read_box_table
from bodvcl.data.sets.ava_people import read_ava_detections
from bodvcl.detect.examples import Example, annotated, detected, with_labelled_detections
from bodvcl.detect.options import GROUND_TRUTH, DetectOptions
from bodvcl.detect.scores import Evaluation, evaluate
from bodvcl.errors import DataError
from bodvcl.system.folders import expand

DETECTIONS = ("annotations/ava_val_predicted_boxes.csv", "ava_val_predicted_boxes.csv")
"""Where people of the test are looked for when no file is named."""


@dataclass(frozen=True)
class Annotations:
    """Key frames and labels.

    Attributes:
        train: key frames to train on.
        test: key frames to test on.
        truth: ground truth of the test, of all annotated key frames.
        actions: the label map.
        boxes: where the people of the test come from.
    """

    train: list[Example]
    test: list[Example]
    truth: BoxTable
    actions: AvaActions
    boxes: str

    @property
    def outputs(self) -> int:
        """Number of outputs of the network: one for each action, by its official number."""
        return max(self.actions.names)


def ava_root(data: str) -> Path:
    """The folder of ``ava:FOLDER``."""
    return expand(data.removeprefix("ava:"))


def read_annotations(options: DetectOptions) -> Annotations:
    """Read and check all lists.

    Raises:
        DataError: a list is missing, empty or broken, or belongs to another split.
    """
    root = ava_root(options.data)
    actions = read_ava_actions(root)
    outputs = max(actions.names)
    train = annotated(_key_frames(root, "train"), outputs)
    if options.train_boxes is not None:
        table = read_box_table(options.train_boxes)
        refuse_unknown_actions(options.train_boxes, table, {0, *actions.names})
        if not table.actions.any():
            raise DataError(
                f"{options.train_boxes}: no line has an action, so all its people would be trained to do "
                "nothing; expected detections that were given the actions of the ground truth"
            )
        train = with_labelled_detections(train, table, options.threshold, outputs)
    frames = _key_frames(root, "val")
    test, boxes = _tested(options, root, frames, outputs)
    return Annotations(train, test, truth_table(frames), actions, boxes)


def evaluate_file(options: DetectOptions, path: Path) -> Evaluation:
    """Frame mAP of a file of predictions against the validation films.

    Raises:
        DataError: a file is missing or broken, an action is unknown, or no key frame is that of the ground
            truth.
    """
    root = ava_root(options.data)
    actions = read_ava_actions(root)
    found = read_box_table(path)
    refuse_unknown_actions(path, found, actions.names)
    truth = truth_table(_key_frames(root, "val"))
    return evaluate(truth, found.without(read_ava_excluded(root, "val")), actions)


def refuse_unknown_actions(path: Path, table: BoxTable, known: Collection[int]) -> None:
    """Raise :class:`~bodvcl.errors.DataError` for an action that the label map does not have."""
    strange = np.flatnonzero(~np.isin(table.actions, np.array(sorted(known))))
    if len(strange):
        line, action = int(strange[0]) + 1, int(table.actions[strange[0]])
        what = f"the action {action} is not in the label map" if action else "the action is missing"
        raise DataError(
            f"{path}: line {line}: {what}; expected one of the {len(set(known) - {0})} official numbers from "
            f"{min(set(known) - {0})} to {max(known)}"
        )


def _key_frames(root: Path, split: str) -> list[KeyFrame]:
    frames = read_ava_keyframes(root, split)
    if not frames:
        raise DataError(
            f"{root}: the list of the split {split} holds no key frame; expected ava_{split}_v2.2.csv"
        )
    return frames


def _tested(
    options: DetectOptions, root: Path, frames: Sequence[KeyFrame], outputs: int
) -> tuple[list[Example], str]:
    """The people of the test, and where they come from."""
    if options.boxes == GROUND_TRUTH:
        return annotated(frames, outputs), GROUND_TRUTH
    if options.boxes is not None:
        path = expand(options.boxes)
    else:
        path = next((root / name for name in DETECTIONS if (root / name).is_file()), root / DETECTIONS[0])
    if options.boxes is None and not path.is_file():
        raise DataError(
            f"{root}: no {DETECTIONS[0]}; name a file of detected people with --boxes, or test on the "
            f"annotated boxes with --boxes {GROUND_TRUTH}"
        )
    excluded, films = read_ava_excluded(root, "val"), {frame.video for frame in frames}
    people = read_ava_detections(path, options.threshold)
    if not any(map(len, people.values())):
        raise DataError(
            f"{path}: no detection has a score of {options.threshold:g} or more; lower --threshold"
        )
    people = {key: rows for key, rows in people.items() if key[0] in films and key not in excluded}
    if not people.keys() & {(frame.video, frame.second) for frame in frames}:
        raise DataError(
            f"{path}: no key frame in common with ava_val_v2.2.csv: these detections are of another split"
        )
    return detected(people, outputs), str(path)
