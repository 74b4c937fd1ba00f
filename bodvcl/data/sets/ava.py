"""AVA v2.2: who does what and where, once per second in 15 minutes of each film.

Videos are rows as in any data set. :func:`read_ava_keyframes` reads the boxes and actions of the key frames,
:func:`bodvcl.data.sets.ava_people.read_ava_detections` person detections.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bodvcl.data.sets.ava_boxes import BoxTable, Key
from bodvcl.data.sets.layout import Layout
from bodvcl.data.sets.rows import DataSet, DatasetRows, VideoRow
from bodvcl.errors import DataError

FIRST_SECOND, LAST_SECOND = 902, 1798
"""First and last second of a film with an annotated key frame."""
FRAME_RATE = 30
"""Frames per second of the extracted frames; frame 1 of a film is its second 900."""

VIDEO_FOLDERS = ("videos", "videos_15min", "clips")
"""Where films are looked for, in this order. Those in ``videos`` are whole; others begin at second 900."""

_SPLITS = ("train", "val")
_PBTXT = re.compile(r'name:\s*"(?P<name>[^"]*)"\s*(?:label_)?id:\s*(?P<id>\d+)')


@dataclass(frozen=True)
class KeyFrame:
    """The people of one key frame.

    Attributes:
        video: id of the film.
        second: time of the key frame in the film in seconds.
        boxes: float64 (people, 4), x1, y1, x2, y2 as shares of the frame.
        actions: official numbers of the actions of each person, from 1.
        people: identity of each person, the same in neighbouring key frames.
    """

    video: str
    second: int
    boxes: np.ndarray
    actions: tuple[tuple[int, ...], ...]
    people: tuple[int, ...]

    @property
    def frame(self) -> int:
        """Number of its image among the extracted frames, from 1: video_000061.jpg is second 902."""
        return (self.second - 900) * FRAME_RATE + 1


@dataclass(frozen=True)
class AvaActions:
    """The label map.

    Attributes:
        names: official number to name.
        evaluated: numbers of the classes in the official evaluation, 60 of 80.
    """

    names: dict[int, str]
    evaluated: tuple[int, ...]


def _read(root: Path, fold: int) -> DatasetRows:
    """One row per film, without a label; the content of the key frames is read separately."""
    del fold
    layout = _layout(root)
    videos = layout.videos(layout.folder(*VIDEO_FOLDERS))
    actions = _actions(layout)
    rows, missing = [], []
    for split in _SPLITS:
        table = layout.file(f"annotations/ava_{split}_v2.2.csv", f"ava_{split}_v2.2.csv")
        names = dict.fromkeys(line.partition(",")[0] for line in layout.lines(table))
        rows += [VideoRow(videos[name], split) for name in names if name in videos]
        missing += [name for name in names if name not in videos]
    classes = tuple(actions.names[number] for number in sorted(actions.names))
    return DatasetRows(
        AVA.name, str(root), rows, {"action": classes}, missing, layout.annotations,
        unreadable=layout.unreadable,
    )  # fmt: skip


def _layout(root: Path) -> Layout:
    return Layout(root, AVA.title, AVA.layout)


def read_ava_actions(root: Path) -> AvaActions:
    """The label map of an AVA folder.

    Raises:
        DataError: it does not exist, or has another format.
    """
    return _actions(_layout(root))


def _actions(layout: Layout) -> AvaActions:
    def read(name: str) -> dict[int, str]:
        path = layout.file(f"annotations/{name}", name)
        found = {int(m["id"]): m["name"] for m in _PBTXT.finditer(layout.text(path))}
        if not found:
            raise layout.broken(path, "its content", 'name: "sit" and id: 11')
        return found

    evaluated = read("ava_action_list_v2.2_for_activitynet_2019.pbtxt")
    full = layout.find("annotations/ava_action_list_v2.2.pbtxt", "ava_action_list_v2.2.pbtxt")
    return AvaActions(read("ava_action_list_v2.2.pbtxt") if full else evaluated, tuple(sorted(evaluated)))


def read_ava_keyframes(root: Path, split: str) -> list[KeyFrame]:
    """The key frames with their boxes, in the order of the file, without the officially excluded ones.

    Args:
        root: folder of the data set.
        split: "train" or "val".

    Raises:
        DataError: a file does not exist, or a line has another format, a box outside of the frame, or an
            action that is not in the label map.
    """
    layout = _layout(root)
    known = read_ava_actions(root).names
    table = layout.file(f"annotations/ava_{split}_v2.2.csv", f"ava_{split}_v2.2.csv")
    excluded = _excluded(layout, split)
    # one person has one line per action; identity and box identify a person
    frames: dict[tuple[str, int], dict[tuple[int, tuple[float, ...]], list[int]]] = {}
    expected = (
        "video,second,x1,y1,x2,y2,action,person with 0 <= x1 < x2 <= 1 and an action of the label map "
        "(all 80 are in ava_action_list_v2.2.pbtxt)"
    )
    for line in layout.lines(table):
        parts = line.split(",")
        try:
            second, box = int(parts[1]), tuple(map(float, parts[2:6]))
            action, person = int(parts[6]), int(parts[7])
            good = 0 <= box[0] < box[2] <= 1 and 0 <= box[1] < box[3] <= 1 and action in known
        except (IndexError, ValueError):
            good = False
        if not good or not FIRST_SECOND <= second <= LAST_SECOND:
            raise layout.broken(table, line, expected)
        if (parts[0], second) not in excluded:
            people = frames.setdefault((parts[0], second), {})
            people.setdefault((person, box), []).append(action)
    return [
        KeyFrame(
            video=video,
            second=second,
            boxes=np.array([box for _, box in people], np.float64),
            actions=tuple(tuple(actions) for actions in people.values()),
            people=tuple(person for person, _ in people),
        )
        for (video, second), people in frames.items()
    ]


def truth_table(frames: Sequence[KeyFrame]) -> BoxTable:
    """One row for each person and action of key frames."""
    rows = [
        (place, box, action)
        for place, frame in enumerate(frames)
        for box, actions in zip(frame.boxes, frame.actions)
        for action in actions
    ]
    return BoxTable(
        tuple((frame.video, frame.second) for frame in frames),
        np.array([place for place, _, _ in rows], np.int64),
        np.array([box for _, box, _ in rows], np.float64).reshape(-1, 4),
        np.array([action for _, _, action in rows], np.int64),
        np.ones(len(rows)),
    )


def read_ava_excluded(root: Path, split: str) -> set[Key]:
    """The key frames that the official list of a split leaves out; none without such a list.

    Raises:
        DataError: a line has another format.
    """
    return _excluded(_layout(root), split)


def _excluded(layout: Layout, split: str) -> set[Key]:
    name = f"ava_{split}_excluded_timestamps_v2.2.csv"
    path = layout.find(f"annotations/{name}", name)
    if path is None:
        return set()
    excluded = set()
    for line in layout.lines(path):
        video, _, second = line.partition(",")
        if not second.isdigit():
            raise layout.broken(path, line, "`video,second`")
        excluded.add((video, int(second)))
    return excluded


def ava_frames(root: Path, video: str) -> list[str]:
    """Paths of the extracted frames of a film, `frames/<video>/<video>_<number>.jpg`, in order.

    Raises:
        DataError: the folder does not exist or has no frame, or frames are missing before the last one.
    """
    layout = _layout(root)
    folder = layout.folder(f"frames/{video}")
    numbers = []
    for name in layout.names(folder):
        stem, _ = os.path.splitext(name)
        if stem.startswith(f"{video}_") and stem[len(video) + 1 :].isdigit():
            numbers.append((int(stem[len(video) + 1 :]), str(folder / name)))
    if [number for number, _ in numbers] != list(range(1, len(numbers) + 1)) or not numbers:
        raise DataError(
            f"{folder}: expected frames from {video}_000001.jpg on without a gap, found {len(numbers)}"
        )
    return [path for _, path in numbers]


AVA = DataSet(
    "ava",
    "AVA v2.2",
    "videos/<id>.*, annotations/ava_{train,val}_v2.2.csv and "
    "annotations/ava_action_list_v2.2_for_activitynet_2019.pbtxt",
    _read,
)
