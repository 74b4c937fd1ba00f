"""Videos in folders: any folder, or one folder per class."""

from __future__ import annotations

import os
from pathlib import Path

from bodvcl.data.sets.layout import Layout, search_videos
from bodvcl.data.sets.rows import DataSet, DatasetRows, VideoRow, classes_of
from bodvcl.errors import DataError

_SPLITS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


def read_folder(root: Path) -> DatasetRows:
    """All videos below a folder, without labels."""
    files, others = search_videos(root)
    return DatasetRows(str(root), str(root), [VideoRow(file) for file in files], others=others)


def _read_class_folders(root: Path, fold: int) -> DatasetRows:
    """One folder per class, either below the root or below folders train, val and test."""
    del fold
    Layout(root, CLASS_FOLDERS.title, CLASS_FOLDERS.layout)
    files, others = search_videos(root)
    parts = [Path(os.path.relpath(file, root)).parts for file in files]
    splits = bool(parts) and all(p[0].lower() in _SPLITS for p in parts)
    depth = 2 if splits else 1
    rows = []
    for file, p in zip(files, parts):
        if len(p) <= depth:
            raise DataError(f"{file}: lies in no class folder; expected {CLASS_FOLDERS.layout}")
        split = _SPLITS[p[0].lower()] if splits else ""
        rows.append(VideoRow(file, split, {"label": p[depth - 1]}))
    return DatasetRows("class-folders", str(root), rows, classes_of(rows), others=others)


CLASS_FOLDERS = DataSet(
    "class-folders",
    "a folder per class",
    "<class>/<video> or {train,val,test}/<class>/<video>",
    _read_class_folders,
)
