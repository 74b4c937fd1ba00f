"""Kinetics-400, -600 and -700: clips of about ten seconds from YouTube; many no longer exist."""

from __future__ import annotations

import os
import re
from functools import partial
from pathlib import Path

from bodvcl.data.sets.layout import Layout
from bodvcl.data.sets.rows import DataSet, DatasetRows, VideoRow
from bodvcl.data.sets.split_names import canonical_split

_SPLITS = {"train": ("train",), "val": ("val", "validate"), "test": ("test",)}
_TABLES = ("annotations/{}.csv", "annotations/kinetics_{}.csv", "{}.csv")
_FOLDERS = ("{}", "videos_{}", "videos/{}")
_TIMES = re.compile(r"(?P<id>.{11})_(?P<start>\d+)_(?P<end>\d+)")
_NOTE = (
    "much of the validation split of Kinetics-400 is in the training splits of Kinetics-600 and -700: do not "
    "train on one of them and test on another"
)


def _read(entry_name: str, root: Path, fold: int) -> DatasetRows:
    """Rows of the csv files for train, val and test; videos that no csv file names are not in the data set.

    A file is named `<id>_<start>_<end>` (seconds, officially six digits) or `<id>`, in any folder below that
    of the split. Labels are those of the csv file, so class folders may have any spelling. Kinetics-400's
    replacements for corrupted files take precedence. Classes are in alphabetical order.
    """
    del fold
    entry = KINETICS[entry_name]
    layout = Layout(root, entry.title, entry.layout)
    replacement = root / "replacement" / "replacement_for_corrupted_k400"
    replaced = {stem[:11]: path for stem, path in _videos(layout, replacement).items()}
    rows: list[VideoRow] = []
    missing: list[str] = []
    labels: set[str] = set()
    for split, names in _SPLITS.items():
        candidates = [place.format(name) for name in names for place in _TABLES]
        folders = [place.format(name) for name in names for place in _FOLDERS]
        table = layout.find(*candidates)
        folder = next((root / name for name in folders if os.path.isdir(root / name)), None)
        folder = folder or _folder_of(layout, split)
        if table is None:
            if split == "train" or folder is not None:
                layout.file(*candidates)
            continue
        files = _videos(layout, folder) if folder is not None else {}
        for line in layout.table(table, ("youtube_id", "time_start", "time_end")):
            name = _official_name(line)
            if name is None:
                raise layout.broken(table, str(line), "label,youtube_id,time_start,time_end,split")
            label = line.get("label", "").strip().strip('"')
            labels |= {label} - {""}
            video = line["youtube_id"]
            file = replaced.get(video) or files.get(name) or files.get(video)
            if file is None:
                missing.append(f"{split}/{name}.mp4")
            else:
                rows.append(VideoRow(file, split, {"label": label} if label else {}))
    return DatasetRows(
        entry.name, str(root), rows, {"label": tuple(sorted(labels))}, missing, layout.annotations, [_NOTE],
        unreadable=layout.unreadable,
    )  # fmt: skip


def _folder_of(layout: Layout, split: str) -> Path | None:
    """A folder whose name stands for the split, such as Train or videos/validation."""
    for place in filter(os.path.isdir, (layout.root, layout.root / "videos")):
        for name in layout.names(place):
            if canonical_split(name) == split and os.path.isdir(place / name):
                return place / name
    return None


def _videos(layout: Layout, folder: Path) -> dict[str, str]:
    """Maps official names, and names without times, to files."""
    files = layout.videos(folder)
    matches = {stem: _TIMES.fullmatch(stem) for stem in files}
    return {_name(m["id"], m["start"], m["end"]) if m else stem: files[stem] for stem, m in matches.items()}


def _official_name(line: dict[str, str]) -> str | None:
    try:
        return _name(line["youtube_id"], line["time_start"], line["time_end"])
    except ValueError:
        return None


def _name(video: str, start: str, end: str) -> str:
    return f"{video}_{int(float(start)):06d}_{int(float(end)):06d}"


def _entry(classes: int) -> DataSet:
    name = f"kinetics{classes}"
    return DataSet(
        name,
        f"Kinetics-{classes}",
        "annotations/{train,val,test}.csv and {train,val,test}/[<class>/]<id>_<start>_<end>.mp4",
        partial(_read, name),
    )


KINETICS: dict[str, DataSet] = {entry.name: entry for entry in map(_entry, (400, 600, 700))}
