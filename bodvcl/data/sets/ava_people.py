"""People that a detector found in the key frames of AVA, as a table or as a pickle."""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from bodvcl.data.sets.ava_boxes import EXPECTED, Key, read_box_table
from bodvcl.errors import DataError

_NOT_DETECTIONS = (
    OSError, ValueError, TypeError, LookupError, AttributeError, ImportError, EOFError, pickle.UnpicklingError
)  # fmt: skip


def read_ava_detections(path: Path, threshold: float = 0.0) -> dict[Key, np.ndarray]:
    """Detected people: maps (video, second) to float64 (people, 5), x1, y1, x2, y2 and score.

    Args:
        path: `ava_*_predicted_boxes.csv` (video,second,x1,y1,x2,y2,action,score without a header), or a
            `.pkl` that maps "video,second" to arrays (people, 5).
        threshold: detections with a lower score are left out.

    Raises:
        DataError: the file has another format, or a box that is not inside of its frame. A pickle with
            anything but arrays is refused before it is run.
    """
    if path.suffix == ".pkl":
        try:
            pairs = [(key, rows[rows[:, 4] >= threshold]) for key, rows in _pickled(path)]
        except _NOT_DETECTIONS as error:
            raise DataError(
                f"{path}: not a file of person detections ({error}); expected a .pkl of arrays "
                f"(people, 5), or a .csv with lines {EXPECTED}"
            ) from error
        return dict(pairs)
    table = read_box_table(path)
    rows = np.column_stack([table.boxes, table.scores])
    order = np.argsort(table.frames, kind="stable")
    parts = np.split(rows[order], np.cumsum(np.bincount(table.frames))[:-1])
    return {key: part[part[:, 4] >= threshold] for key, part in zip(table.keys, parts)}


def _pickled(path: Path) -> Iterator[tuple[Key, np.ndarray]]:
    held = _ArraysOnly(io.BytesIO(path.read_bytes()), encoding="latin1").load()
    if not isinstance(held, dict):
        raise ValueError(f"it contains a {type(held).__name__}")
    for key, rows in held.items():
        rows = np.asarray(rows, np.float64)
        if rows.ndim != 2 or rows.shape[1] != 5:
            raise ValueError(f"{key} has shape {rows.shape}, expected (people, 5)")
        if not ((rows[:, :2] >= 0) & (rows[:, :2] < rows[:, 2:4]) & (rows[:, 2:4] <= 1)).all():
            raise ValueError(f"{key} has a box that is not 0 <= x1 < x2 <= 1, 0 <= y1 < y2 <= 1")
        video, _, second = str(key).rpartition(",")
        yield (video, int(second)), rows


class _ArraysOnly(pickle.Unpickler):
    """Builds only numpy arrays: any other pickle could run a program."""

    _ALLOWED = frozenset(["_reconstruct", "ndarray", "dtype", "_frombuffer"])

    def find_class(self, module: str, name: str) -> Any:
        if module.partition(".")[0] == "numpy" and name in self._ALLOWED:
            return super().find_class(module, name)
        if (module, name) == ("_codecs", "encode"):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"it refers to {module}.{name}")
