"""What a detection run leaves in its folder: predictions, AP by class, pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bodvcl.data.files.video import BadVideo
from bodvcl.data.sets.ava_boxes import box_file
from bodvcl.detect.annotations import Annotations
from bodvcl.detect.clips import KeyFrameClips
from bodvcl.detect.picture import KeyFramePicture, key_frame_sheet
from bodvcl.detect.scores import DetectionTest, People
from bodvcl.errors import UserError
from bodvcl.evaluate.probe_plot import save_plot
from bodvcl.runs.folder import write_atomically

PREDICTIONS = "predictions.csv"
"""Predictions in the official format."""
CLASSES = "ap.csv"
"""AP of each class."""
PICTURES = "pictures.png"
"""Key frames with boxes."""


def write_outputs(
    folder: Path, tested: DetectionTest, annotations: Annotations, clips: KeyFrameClips, pictures: int
) -> None:
    """Write the files.

    Args:
        folder: folder of the run.
        tested: the test.
        annotations: ground truth and names.
        clips: the test key frames with their films.
        pictures: key frames to draw.

    Raises:
        UserError: a file cannot be written.
    """
    try:
        write_atomically(folder / PREDICTIONS, box_file(tested.found))
        write_atomically(folder / CLASSES, tested.evaluation.csv().encode())
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error.strerror or error}; free some space") from error
    drawn = [
        _picture(annotations, clips, tested.people, number)
        for number in _spread(np.unique(tested.people.who[:, 0]), pictures)
    ]
    shown = [picture for picture in drawn if picture is not None]
    if shown:
        names = {action - 1: annotations.actions.names[action] for action in annotations.actions.evaluated}
        save_plot(key_frame_sheet(shown, names), folder / PICTURES)


def _spread(numbers: np.ndarray, count: int) -> Sequence[int]:
    """At most ``count`` of them, evenly spread."""
    places = np.linspace(0, len(numbers) - 1, min(count, len(numbers))).round().astype(int)
    chosen: list[int] = numbers[np.unique(places)].tolist()
    return chosen


def _picture(
    annotations: Annotations, clips: KeyFrameClips, people: People, number: int
) -> KeyFramePicture | None:
    """None: the film can no longer be read."""
    example, truth = clips.examples[number], annotations.truth
    try:
        image = clips.key_frame(example)
    except BadVideo:
        return None
    place = truth.keys.index(example.key) if example.key in truth.keys else -1
    here = truth.rows(truth.frames == place)
    boxes, person = np.unique(here.boxes, axis=0, return_inverse=True)
    names = np.array([annotations.actions.names[action] for action in here.actions.tolist()], object)
    actions = [names[person.ravel() == row].tolist() for row in range(len(boxes))]
    mine = people.who[:, 0] == number
    return KeyFramePicture(
        f"{example.film} {example.second}",
        image,
        boxes,
        actions,
        example.boxes[people.who[mine, 1]],
        people.scores[mine],
    )
