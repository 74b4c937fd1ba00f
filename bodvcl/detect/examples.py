"""Key frames with boxes: what is trained on and what is tested, and which of them cannot be used."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bodvcl.data.sets.ava import KeyFrame
from bodvcl.data.sets.ava_boxes import BoxTable, Key
from bodvcl.detect.films import Film, shows
from bodvcl.errors import DataError
from bodvcl.text.words import counted


@dataclass(frozen=True)
class Example:
    """A key frame.

    Attributes:
        film: id of the film.
        second: its time in the film.
        boxes: float64 (K, 4), K >= 1, x1, y1, x2, y2 as shares of the frame.
        labels: bool (K, actions), whether the person does the action with this number minus 1; for detected
            people all False.
    """

    film: str
    second: int
    boxes: np.ndarray
    labels: np.ndarray

    @property
    def key(self) -> Key:
        """The film and the second."""
        return self.film, self.second


def annotated(frames: Iterable[KeyFrame], outputs: int) -> list[Example]:
    """The people of key frames with their actions."""
    examples = []
    for frame in frames:
        labels = np.zeros((len(frame.boxes), outputs), bool)
        for person, actions in enumerate(frame.actions):
            labels[person, np.array(actions) - 1] = True
        examples.append(Example(frame.video, frame.second, frame.boxes, labels))
    return examples


def detected(people: Mapping[Key, np.ndarray], outputs: int) -> list[Example]:
    """Detected people, (K, 5) for each key frame, without labels; key frames without people are left out."""
    return [
        Example(film, second, rows[:, :4], np.zeros((len(rows), outputs), bool))
        for (film, second), rows in people.items()
        if len(rows)
    ]


def with_labelled_detections(
    examples: Sequence[Example], table: BoxTable, threshold: float, outputs: int
) -> list[Example]:
    """Add detected people that have been given actions to the people of each key frame.

    Args:
        examples: key frames; detections in others are not used.
        table: one row per person and action; action 0: the person does none.
        threshold: detections with a lower score are not used.
        outputs: number of actions.
    """
    rows: dict[Key, dict[tuple[float, ...], list[int]]] = {}
    for row in np.flatnonzero(table.scores >= threshold):
        people = rows.setdefault(table.keys[table.frames[row]], {})
        people.setdefault(tuple(table.boxes[row].tolist()), []).append(int(table.actions[row]))
    grown = []
    for example in examples:
        people = rows.get(example.key, {})
        labels = np.zeros((len(people), outputs), bool)
        for person, actions in enumerate(people.values()):
            labels[person, [action - 1 for action in actions if action]] = True
        boxes = np.array(list(people), np.float64).reshape(-1, 4)
        both = np.concatenate([example.boxes, boxes]), np.concatenate([example.labels, labels])
        grown.append(Example(example.film, example.second, *both))
    return grown


def readable(
    examples: Sequence[Example], films: Mapping[str, Film], what: str, say: Callable[[str], None]
) -> list[Example]:
    """The key frames whose film exists. How many films and key frames are missing is said.

    Args:
        examples: key frames.
        films: films by their id.
        what: what the key frames are for, for messages.
        say: takes lines for the user.

    Raises:
        DataError: no film exists, or a key frame is not in its film.
    """
    kept = [example for example in examples if example.film in films]
    gone = sorted({example.film for example in examples} - films.keys())
    if not kept:
        raise DataError(
            f"none of the {counted(len(gone), 'film')} with key frames for the {what} exists, for example "
            f"{', '.join(gone[:3])}: add them, or check the names of the files"
        )
    if gone:
        say(
            f"{what}: {counted(len(gone), 'film')} with {counted(len(examples) - len(kept), 'key frame')} "
            f"missing, for example {', '.join(gone[:3])}"
        )
    seconds: dict[str, list[int]] = {}
    for example in kept:
        seconds.setdefault(example.film, []).append(example.second)
    for name, wanted in seconds.items():
        _refuse_outside(films[name], wanted)
    return kept


def _refuse_outside(film: Film, seconds: Sequence[int]) -> None:
    times = film.times()
    outside = [second for second in seconds if not shows(times, second)]
    if outside:
        raise DataError(
            f"{film.path}: the key frame at second {outside[0]} is outside of the file, which is taken to "
            f"hold seconds {times[0]:.1f} to {times[-1]:.1f} of the film; say with --begins at which second "
            "the files begin: 0 for whole films, 900 for the 15-minute files"
        )
