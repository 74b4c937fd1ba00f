"""The index: what is known about each video file that was checked, so that no file is checked twice.

It is one SQLite file for all data sets. An entry is valid for a path, a size and a time of last change: a
file that was changed is checked again. Several processes may use the index at the same time.
"""

from __future__ import annotations

import json
import os
import sqlite3
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import av
import numpy as np

from bodvcl.data.files.video import BadVideo, VideoInfo
from bodvcl.errors import DataError
from bodvcl.system.folders import cache_folder, expand

Stamp = tuple[int, int]
"""Size in bytes and time of last change in nanoseconds."""

_FORMAT = 3  # raise it when the same file would give another entry
_OF_THE_ROW = frozenset(
    ["path", "labels", "split", "content", "held", "whole", "first", "span"]
)  # fields that come from the list
_FIELDS = [f.name for f in fields(VideoInfo) if f.name not in _OF_THE_ROW]
PROBER = f"{_FORMAT} av-{av.__version__} {' '.join(_FIELDS)}"
"""What results depend on besides the file: results of another prober are not used."""
_AT_ONCE = 500  # paths per query


def default_index() -> Path:
    """$BODVCL_INDEX if it is set, else `bodvcl/videos.sqlite` in the user's cache folder."""
    if os.environ.get("BODVCL_INDEX"):
        return expand(os.environ["BODVCL_INDEX"])
    return cache_folder("videos.sqlite")


def stamp(path: str) -> Stamp | None:
    """Size and time of last change of a file; None if they cannot be read, or the file may not be."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return (status.st_size, status.st_mtime_ns) if os.access(path, os.R_OK) else None


class VideoIndex:
    """Results of earlier scans; a context manager.

    If the file cannot be written, a warning says so and results are not kept for the next time.

    Args:
        path: the file. None: :func:`default_index`.

    Raises:
        DataError: the file exists but is not an index.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or default_index()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._database = self._open(str(self.path))
        except (OSError, sqlite3.OperationalError) as error:
            self._warn(error)
            self._database = self._open(":memory:")
        except sqlite3.DatabaseError as error:
            raise self._no_index(error) from error

    @staticmethod
    def _open(name: str) -> sqlite3.Connection:
        database = sqlite3.connect(name, timeout=60)
        database.execute(
            "CREATE TABLE IF NOT EXISTS videos (path BLOB PRIMARY KEY, size INTEGER, changed INTEGER, "
            "prober TEXT, fault TEXT, info TEXT)"
        )
        return database

    def _warn(self, error: Exception) -> None:
        warnings.warn(
            f"the index {self.path} cannot be written ({error}), so videos will be checked again next time; "
            "set BODVCL_INDEX to a file that can be written",
            stacklevel=3,
        )

    def _no_index(self, error: Exception) -> DataError:
        return DataError(
            f"{self.path}: not an index of videos ({error}); delete it, or set BODVCL_INDEX to another file"
        )

    def lookup(self, stamps: Mapping[str, Stamp]) -> dict[str, VideoInfo | BadVideo]:
        """Results for files that have not changed since they were checked; other files are left out.

        Args:
            stamps: path to its current :func:`stamp`.

        Raises:
            DataError: the file is damaged.
        """
        try:
            return self._lookup(stamps)
        except sqlite3.Error as error:
            raise self._no_index(error) from error

    def _lookup(self, stamps: Mapping[str, Stamp]) -> dict[str, VideoInfo | BadVideo]:
        known: dict[str, VideoInfo | BadVideo] = {}
        paths = {_key(path): path for path in stamps}
        keys = list(paths)
        for start in range(0, len(keys), _AT_ONCE):
            part = keys[start : start + _AT_ONCE]
            marks = ",".join("?" * len(part))
            rows = self._database.execute(
                f"SELECT path, size, changed, fault, info FROM videos WHERE prober = ? AND path IN ({marks})",
                (PROBER, *part),
            )
            for key, size, changed, fault, info in rows:
                path = paths[key]
                if stamps[path] == (size, changed):
                    known[path] = _decode(path, info) if fault is None else BadVideo(path, fault)
        return known

    def store(self, results: Iterable[tuple[Stamp, VideoInfo | BadVideo]]) -> None:
        """Add results, either all of them or none.

        Args:
            results: the :func:`stamp` of a file before it was checked, and the result of the check.

        Raises:
            DataError: the file is damaged.
        """
        rows = [
            (_key(result.path), *at, PROBER, result.reason, None)
            if isinstance(result, BadVideo)
            else (_key(result.path), *at, PROBER, None, _encode(result))
            for at, result in results
        ]
        try:
            with self._database:
                self._database.executemany("INSERT OR REPLACE INTO videos VALUES (?, ?, ?, ?, ?, ?)", rows)
        except sqlite3.OperationalError as error:
            self._warn(error)
        except sqlite3.DatabaseError as error:
            raise self._no_index(error) from error

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def __enter__(self) -> VideoIndex:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _key(path: str) -> bytes:
    return os.fsencode(os.path.abspath(path))


def _encode(info: VideoInfo) -> str:
    return json.dumps({name: getattr(info, name) for name in _FIELDS}, default=_plain, separators=(",", ":"))


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return {"dtype": str(value.dtype), "values": value.tolist()}
    return value.item()


def _decode(path: str, text: str) -> VideoInfo:
    values: dict[str, Any] = {
        name: np.array(value["values"], value["dtype"]) if isinstance(value, dict) else value
        for name, value in json.loads(text).items()
    }
    return VideoInfo(path=path, **values)
