"""HMDB51: 51 actions, three official splits of 70 training and 30 test videos per class."""

from __future__ import annotations

import os
import re
from pathlib import Path

from bodvcl.data.sets.layout import Layout
from bodvcl.data.sets.rows import DataSet, DatasetRows, VideoRow

_SPLIT_OF_TAG = {"0": "unused", "1": "train", "2": "test"}


def _read(root: Path, fold: int) -> DatasetRows:
    """Classes are in alphabetical order. Videos that a split leaves out have the split "unused"."""
    layout = Layout(root, HMDB51.title, HMDB51.layout)
    lists = layout.folder("testTrainMulti_7030_splits", "test_train_splits", "annotations")
    lists = inner if os.path.isdir(inner := lists / "testTrainMulti_7030_splits") else lists
    videos = layout.folder("hmdb51_org", "hmdb51", "videos")
    named = re.compile(rf"(.+)_test_split{fold}\.txt")
    classes = sorted(m[1] for m in map(named.fullmatch, layout.names(lists)) if m)
    if not classes:
        raise layout.lacks(f"{lists.relative_to(root)}/<class>_test_split{fold}.txt")
    rows, missing = [], []
    for label in classes:
        files = layout.videos(videos / label)
        path = lists / f"{label}_test_split{fold}.txt"
        for line in layout.lines(path):
            name, _, tag = line.rpartition(" ")
            if tag not in _SPLIT_OF_TAG or not name.strip():
                raise layout.broken(path, line, "`video.avi 1` (1 train, 2 test, 0 unused)")
            file = files.get(Path(name.strip()).stem)
            if file is None:
                missing.append(f"{label}/{name.strip()}")
            else:
                rows.append(VideoRow(file, _SPLIT_OF_TAG[tag], {"label": label}))
    return DatasetRows(
        HMDB51.name, str(root), rows, {"label": tuple(classes)}, missing, layout.annotations,
        unreadable=layout.unreadable,
    )  # fmt: skip


HMDB51 = DataSet(
    "hmdb51",
    "HMDB51",
    "hmdb51_org/<class>/<video>.avi and testTrainMulti_7030_splits/<class>_test_split{1,2,3}.txt",
    _read,
    folds=3,
)
