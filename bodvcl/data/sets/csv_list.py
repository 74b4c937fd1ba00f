"""A list of videos of your own: path, and if there are any, split and label columns."""

from __future__ import annotations

import csv
import os
from pathlib import Path

from bodvcl.data.sets.rows import DatasetRows, VideoRow, classes_of
from bodvcl.errors import DataError


def read_csv_list(path: Path) -> DatasetRows:
    """Rows of a list with a column `path`, relative to the list; columns but `path` and `split` are labels.

    Raises:
        DataError: it cannot be read, has no column `path`, or a row has too few or too many columns.
    """
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            if "path" not in (reader.fieldnames or []):
                raise DataError(
                    f"{path}: no column named path in its first line {reader.fieldnames or '(empty file)'}; "
                    f"expected for example: path,label"
                )
            table = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read as a list of videos: {error}") from error
    rows = []
    for number, row in enumerate(table, start=2):
        if None in row or None in row.values() or not row["path"]:
            raise DataError(
                f"{path}: row {number} does not have the {len(row) - (None in row)} columns of its first line"
            )
        labels = {name: value for name, value in row.items() if name not in ("path", "split")}
        rows.append(VideoRow(os.path.join(path.parent, row["path"]), row.get("split", ""), labels))
    return DatasetRows(str(path), str(path.parent), rows, classes_of(rows), annotations=[str(path)])
