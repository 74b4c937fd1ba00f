"""Every data set by name, and how a specification is read."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path

from bodvcl.data.sets.ava import AVA
from bodvcl.data.sets.built_in import DIGITS, SCENES, SHAPES, BuiltInDataSet, BuiltInSettings
from bodvcl.data.sets.csv_list import read_csv_list
from bodvcl.data.sets.diving48 import DIVING48
from bodvcl.data.sets.finegym import FINEGYM
from bodvcl.data.sets.folders import CLASS_FOLDERS, read_folder
from bodvcl.data.sets.hmdb51 import HMDB51
from bodvcl.data.sets.kinetics import KINETICS
from bodvcl.data.sets.layout import is_video_name
from bodvcl.data.sets.rows import DataSet, DatasetRows, VideoRow
from bodvcl.data.sets.split_names import canonical_split
from bodvcl.data.sets.ssv2 import SSV2
from bodvcl.data.sets.ucf101 import UCF101
from bodvcl.data.tars.held import is_url
from bodvcl.data.tars.names import find_tars
from bodvcl.errors import DataError
from bodvcl.text.words import suggestion

_ENTRIES: tuple[DataSet | BuiltInDataSet, ...] = (
    SCENES,
    DIGITS,
    SHAPES,
    CLASS_FOLDERS,
    UCF101,
    HMDB51,
    *KINETICS.values(),
    SSV2,
    *FINEGYM.values(),
    DIVING48,
    AVA,
)
DATA_SETS: dict[str, DataSet | BuiltInDataSet] = {entry.name: entry for entry in _ENTRIES}
"""Every data set that a specification can name."""

_LISTS = (".csv", ".txt", ".tsv")

_SPEC = re.compile(r"(?P<name>[a-z][a-z0-9-]*)(?:@(?P<fold>\d+))?:(?P<root>.+)")


def built_in(spec: str | os.PathLike[str]) -> BuiltInDataSet | None:
    """The built-in data set that a specification names; None for the user's own data."""
    entry = DATA_SETS.get(os.fspath(spec))
    return entry if isinstance(entry, BuiltInDataSet) else None


def open_dataset(
    spec: str | os.PathLike[str],
    settings: BuiltInSettings | None = None,
    *,
    workers: int | None = None,
    progress: bool = True,
) -> DatasetRows:
    """Read which videos a data set has, their splits and labels; no video is opened.

    The videos of a built-in data set are rendered first, unless they are there from an earlier use.
    Splits get the names of :func:`~bodvcl.data.sets.split_names.canonical_split`; a note says which names of
    the source were changed.

    Args:
        spec: the name of a built-in data set (`scenes`, `digits`, `shapes`); `name:folder` or
            `name@split:folder` with a name of :data:`DATA_SETS`; a folder of videos, searched to any depth;
            a .csv list with a column `path` (relative to the list), optional columns `split`, `start` and
            `end`, and label columns, or with a path and a label in each line; one video file; or tar files of
            videos: a folder of them, or paths and URLs as in :func:`~bodvcl.data.tars.names.find_tars`. `~`
            is the home folder.
        settings: settings of the built-in data sets. None: their defaults.
        workers: processes that render a built-in data set. None or 0: one per core.
        progress: show a progress bar while rendering.

    Raises:
        DataError: the name is unknown, the folder does not have the layout of the data set, a list cannot be
            read, or rendered videos cannot be written.
    """
    entry = built_in(spec)
    if entry is not None:
        return _with_canonical_splits(entry.read(settings or BuiltInSettings(), workers, progress))
    return _with_canonical_splits(_read(os.fspath(spec)))


def _with_canonical_splits(found: DatasetRows) -> DatasetRows:
    names = {split: canonical_split(split) for split in sorted(found.splits)}
    read_as = [f"{name!r} is {split or 'no split'}" for name, split in names.items() if name != split]
    return replace(
        found,
        rows=[
            row if row.split == names[row.split] else replace(row, split=names[row.split])
            for row in found.rows
        ],
        tars=[replace(tar, split=names[tar.split]) for tar in found.tars],
        notes=[*found.notes, *([f"names of splits: {', '.join(read_as)}"] if read_as else [])],
    )


def _read(text: str) -> DatasetRows:
    if not text:
        raise DataError("the data is an empty text; give a folder of videos, or . for the current folder")
    if is_url(text):
        return DatasetRows(text, text, [], tars=find_tars(text))
    path = Path(text).expanduser()
    if os.path.isdir(path):
        return read_folder(path)
    if path.suffix == ".tar":
        return DatasetRows(str(path), str(path.parent), [], tars=find_tars(str(path)))
    if path.suffix.lower() in _LISTS and os.path.isfile(path):
        return read_csv_list(path)
    if is_video_name(path.name) and os.path.isfile(path):
        return DatasetRows(str(path), str(path.parent), [VideoRow(str(path))])
    match = _SPEC.fullmatch(text)
    if match is None or os.path.exists(path):
        if os.path.exists(path):
            raise DataError(
                f"{path}: expected a folder of videos, a list ({', '.join(_LISTS)}) with a column path, or a "
                ".tar file"
            )
        raise DataError(
            f"{path}: no such file or folder; give a folder of videos, a .csv list, .tar files, or a data "
            f"set by name, such as ucf101:FOLDER (known names: {_names()})"
        )
    return _read_official(text, match["name"], int(match["fold"] or 1), Path(match["root"]).expanduser())


def _read_official(text: str, name: str, fold: int, root: Path) -> DatasetRows:
    entry = DATA_SETS.get(name)
    if entry is None:
        hint = suggestion(name, DATA_SETS)
        raise DataError(f"{text}: no data set named {name}{hint}; known names: {_names()}")
    if isinstance(entry, BuiltInDataSet):
        raise DataError(f"{text}: {name} is built in and has no folder; give {name} alone")
    if not 1 <= fold <= entry.folds:
        has = "one official split" if entry.folds == 1 else f"{entry.folds} official splits"
        raise DataError(f"{text}: {entry.title} has {has}, got @{fold}")
    return replace(entry.read(root, fold), name=f"{name}@{fold}" if entry.folds > 1 else name)


def _names() -> str:
    return ", ".join(sorted(DATA_SETS))
