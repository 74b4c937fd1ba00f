"""The folder of a training copy: names of its files, its lists, and what it was made with."""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from bodvcl.data.sets import DatasetRows, Segment, VideoRow
from bodvcl.errors import DataError

SETTINGS = "transcode.json"
"""File in the folder of the copy: the settings that it was made with."""

FAILED = "failed.csv"
"""File in the folder of the copy: sources without a copy, and why."""


def copy_names(rows: Sequence[VideoRow], root: Path) -> dict[str, str]:
    """Maps each :func:`copy_key` to the path of its copy, relative to the folder of the copy."""
    names = {copy_key(row): _copy_name(row, root) for row in rows}
    plain = {key: os.path.splitext(name)[0] + ".mp4" for key, name in names.items()}
    used = Counter(plain.values())
    return {
        key: plain[key] if used[plain[key]] == 1 or plain[key] == name else f"{name}.mp4"
        for key, name in names.items()
    }


def copy_key(row: VideoRow) -> str:
    """What identifies the copy of a row: the target of its segment, or its file and times, or its path."""
    if row.segment is None:
        return row.path
    return row.segment.target or f"{row.path}\0{_seconds(row.segment)}"


def _copy_name(row: VideoRow, root: Path) -> str:
    if row.segment is not None and row.segment.target:
        return row.segment.target
    name = os.path.relpath(row.path, root)
    if row.segment is None:
        return name
    stem, extension = os.path.splitext(name)
    return f"{stem}_{_seconds(row.segment)}{extension}"


def _seconds(segment: Segment) -> str:
    return f"{segment.start!r}_{segment.end!r}"


def common_root(data: DatasetRows) -> Path:
    """The deepest folder that contains the root of a data set and all of its files."""
    folders = {os.path.dirname(os.path.abspath(row.path)) for row in data.rows}
    return Path(os.path.commonpath([os.path.abspath(data.root), *folders]))


def prepare(folder: Path, what: Mapping[str, object]) -> None:
    """Create the folder of a copy, or check that it belongs to the same copy.

    Raises:
        DataError: it contains another copy or other files, or cannot be written.
    """
    path = folder / SETTINGS
    try:
        if path.exists():
            earlier = json.loads(path.read_text(encoding="utf-8"))
            if earlier != what:
                differ = [f"{k} {earlier.get(k)}, now {v}" for k, v in what.items() if earlier.get(k) != v]
                raise DataError(
                    f"{folder}: contains another copy ({'; '.join(differ)}); choose another folder"
                )
            return
        if folder.exists() and any(folder.iterdir()):
            raise DataError(f"{folder}: is not empty and contains no training copy; choose another folder")
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(dict(what)) + "\n", encoding="utf-8")
    except (OSError, ValueError, AttributeError) as error:
        raise DataError(
            f"{folder}: cannot be used for the copy: {getattr(error, 'strerror', None) or error}"
        ) from error


def source_of(data: DatasetRows, source: str, folder: Path) -> str:
    """The value of `--data` that uses the copy."""
    if data.list_file:
        return str(folder / Path(data.list_file).name)
    if Path(source).expanduser().is_dir():
        return str(folder)
    return f"{source.partition(':')[0]}:{folder}"


def write_lists(data: DatasetRows, root: Path, folder: Path, copied: list[tuple[str, VideoRow]]) -> None:
    """Write the list of the copy, or copy the official lists.

    Args:
        data: what the source lists.
        root: folder that all source files are below.
        folder: folder of the copy.
        copied: relative path of each copy, and its row in the source.
    """
    if data.list_file:
        columns = list(data.classes)
        split = ["split"] if any(row.split for row in data.rows) else []
        write_csv(
            folder / Path(data.list_file).name,
            ["path", *split, *columns],
            [
                [name, *(row.split for _ in split), *(row.labels.get(column, "") for column in columns)]
                for name, row in copied
            ],
        )
        return
    for path in map(Path, data.annotations):
        for neighbour in path.parent.glob(f"*{path.suffix}"):  # the lists of the other official splits
            if neighbour.name not in (SETTINGS, FAILED):
                target = folder / os.path.relpath(neighbour, root)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(neighbour, target)


def write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Write a table; file names that are not valid text keep their bytes."""
    with open(path, "w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
