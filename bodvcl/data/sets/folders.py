"""Videos in folders: any folder, or one folder per class. Folders named train, test etc. are splits."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence, Set
from pathlib import Path

from bodvcl.data.sets.layout import Found, Layout, search_videos
from bodvcl.data.sets.rows import DataSet, DatasetRows, VideoRow, classes_of
from bodvcl.data.sets.split_names import TEST, TRAIN, VAL, split_role
from bodvcl.data.tars.names import measured
from bodvcl.errors import DataError
from bodvcl.text.words import printable

Folders = tuple[str, ...]
"""Names of the folders from the root down to a video."""

_SHORT = 2  # letters: tr and te are splits, or two languages


def read_folder(root: Path) -> DatasetRows:
    """All videos below a folder, without labels; folders such as train and test, side by side, are splits.

    If there is no video but there are .tar files, these hold the videos.
    """
    found = search_videos(root)
    if found.tars and not found.videos:
        return _in_tars(root, found)
    places = [_folders(root, video) for video in found.videos]
    rows = [
        VideoRow(video, "" if level is None else place[level])
        for video, place, level in zip(found.videos, places, split_levels(places))
    ]
    return DatasetRows(
        str(root), str(root), rows, notes=[*found.notes], others=found.others, unreadable=found.unreadable
    )


def _in_tars(root: Path, found: Found) -> DatasetRows:
    places = [_folders(root, tar) for tar in found.tars]
    splits = ["" if at is None else place[at] for place, at in zip(places, split_levels(places))]
    return DatasetRows(
        str(root),
        str(root),
        [],
        others=found.others - len(found.tars),
        unreadable=found.unreadable,
        tars=measured(found.tars, splits),
    )


def _read_class_folders(root: Path, fold: int) -> DatasetRows:
    """One folder per class: below the root, below folders of splits, or with folders of splits inside.

    Other folders beside those of splits, such as `unlabelled`, are splits of that name; their videos need no
    class.
    """
    del fold
    Layout(root, CLASS_FOLDERS.title, CLASS_FOLDERS.layout)
    found = search_videos(root)
    places = [_folders(root, video) for video in found.videos]
    rows = []
    for video, place, level in zip(found.videos, places, split_levels(places)):
        split = "" if level is None else place[level]
        name = next((name for at, name in enumerate(place) if at != level), None)
        if name is None and (level is None or split_role(split)):
            raise DataError(f"{printable(video)}: is in no class folder; expected {CLASS_FOLDERS.layout}")
        rows.append(VideoRow(video, split, {"label": name} if name is not None else {}))
    classes = classes_of(rows)
    odd = [name for names in classes.values() for name in names if split_role(name)]
    return DatasetRows(
        "class-folders",
        str(root),
        rows,
        classes,
        notes=[
            f"the folder {name!r} is used as a class, not as a split, because it is not beside both a train "
            "and a test folder"
            for name in odd
        ]
        + [*found.notes],
        others=found.others,
        unreadable=found.unreadable,
    )


def split_levels(places: Sequence[Folders]) -> list[int | None]:
    """For each video, the depth of the folder that names its split; None if no folder does.

    Folders name splits if one for training and one for testing are side by side, or if every folder at that
    depth has the name of a split. Names of two letters are splits only if all folders beside them are splits.
    """
    children: dict[Folders, set[str]] = defaultdict(set)
    for place in places:
        for level, name in enumerate(place):
            children[place[:level]].add(name)
    paired = {parent for parent, names in children.items() if _is_pair(names)}
    levels = sorted({len(parent) for parent in paired} | _levels_of_nothing_else(children, set(places)))
    return [
        next((level for level in levels if level < len(place) and _names_split(place, level, paired)), None)
        for place in places
    ]


def _folders(root: Path, video: str) -> Folders:
    return Path(os.path.relpath(video, root)).parts[:-1]


def _names_split(place: Folders, level: int, paired: Set[Folders]) -> bool:
    return place[:level] in paired or bool(_role(place[level]))


def _is_pair(names: Set[str]) -> bool:
    all_roles = [split_role(name) for name in names]
    roles = all_roles if all(all_roles) else [_role(name) for name in names]
    return TRAIN in roles and bool({VAL, TEST} & set(roles))


def _levels_of_nothing_else(children: Mapping[Folders, Set[str]], with_videos: Set[Folders]) -> set[int]:
    """Depths at which every folder has the name of a split, and no video is beside one."""
    named: dict[int, bool] = defaultdict(lambda: True)
    for parent, names in children.items():
        named[len(parent)] &= parent not in with_videos and all(map(_role, names))
    return {level for level, only in named.items() if only}


def _role(name: str) -> str:
    return split_role(name) if len(name.strip()) > _SHORT else ""


CLASS_FOLDERS = DataSet(
    "class-folders",
    "a folder per class",
    "<class>/<video> or {train,val,test}/<class>/<video>",
    _read_class_folders,
)
