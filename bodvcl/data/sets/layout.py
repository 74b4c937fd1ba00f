"""Find and read the files of an official layout; errors name in one line what is missing."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bodvcl.data.sets.numbered import Numbered, is_numbered, numbered_images, only_images
from bodvcl.errors import DataError
from bodvcl.text.words import counted

VIDEO_EXTENSIONS = frozenset([
    ".3g2", ".3gp", ".amv", ".asf", ".avi", ".divx", ".dv", ".f4v", ".flv", ".gif", ".h264",
    ".h265", ".hevc", ".ivf", ".m1v", ".m2ts", ".m2v", ".m4v", ".mjpeg", ".mjpg", ".mkv", ".mov",
    ".mp4", ".mpe", ".mpeg", ".mpg", ".mpv", ".mts", ".mxf", ".nut", ".ogm", ".ogv", ".qt",
    ".rm", ".rmvb", ".ts", ".vob", ".webm", ".wmv", ".xvid", ".y4m",
])  # fmt: skip
"""File names that a folder is searched for, in lower case. A list may name files with any extension."""


def is_video_name(name: str) -> bool:
    """Whether a file name has the extension of a video and does not begin with a dot."""
    return os.path.splitext(name)[1].lower() in VIDEO_EXTENSIONS and not name.startswith(".")


class Found(NamedTuple):
    """What :func:`search_videos` found below a folder.

    Attributes:
        videos: video files, sorted; where there are neither video nor .tar files, folders of numbered images.
        others: number of other files.
        tars: .tar files, sorted; they count as other files.
        unreadable: (folder, reason) of folders that could not be read and were skipped, sorted.
        images: the videos are folders of images.
        notes: folders with images that are left out, for the user.
    """

    videos: list[str]
    others: int
    unreadable: list[tuple[str, str]]
    tars: list[str]
    images: bool = False
    notes: Sequence[str] = ()


def search_videos(folder: Path) -> Found:
    """Find the video files below a folder. Links are followed, but no folder is searched twice.

    Where there are neither video nor .tar files, folders that hold numbered images of one kind, perhaps small
    side files, and nothing else are the videos.

    A folder that cannot be read, or vanishes meanwhile, is named in the result. A broken link counts as a
    video if it is named like one; pipes, sockets and devices are never videos.
    """
    videos: list[str] = []
    tars: list[str] = []
    unreadable: list[tuple[str, str]] = []
    frames: dict[str, int] = {}
    unclear: dict[str, str] = {}
    others, seen, waiting = 0, set(), [os.fspath(folder)]
    while waiting:
        place = waiting.pop()
        real = os.path.realpath(place)
        if real in seen:
            continue
        seen.add(real)
        try:
            with os.scandir(place) as entries:
                inside = sorted(entries, key=lambda entry: entry.name, reverse=True)
        except OSError as error:
            unreadable.append((place, error.strerror or str(error)))
            continue
        folders = len(waiting)
        names: list[str] = []
        for entry in inside:
            if _answer(entry, os.DirEntry.is_dir):
                waiting += [] if entry.name.startswith(".") else [entry.path]
            elif is_video_name(entry.name) and (entry.is_symlink() or _answer(entry, os.DirEntry.is_file)):
                videos.append(entry.path)
            else:
                names.append(entry.name)
                tars += [entry.path] if entry.name.endswith(".tar") else []
        others += len(names)
        images = numbered_images(names)
        if isinstance(images, Numbered):
            alone = len(waiting) == folders and only_images(names)
            if alone:
                frames[place] = len(names)
            else:
                unclear[place] = "other files or folders are beside its images"
        elif any(map(is_numbered, names)):
            unclear[place] = images
    unreadable.sort()
    if videos or tars:
        beside = _left_out([*frames], "because there are video files too; a list of their paths uses them")
        return Found(sorted(videos), others, unreadable, sorted(tars), notes=beside)
    reason = next(iter(unclear.values()), "")
    notes = _left_out(sorted(unclear), f"because their frames are not clear ({reason})")
    return Found(sorted(frames), others - sum(frames.values()), unreadable, [], bool(frames), notes)


def _left_out(folders: Sequence[str], why: str) -> list[str]:
    if not folders:
        return []
    number = counted(len(folders), "folder")
    return [f"{number} of numbered images left out, {why}; for example {folders[0]}"]


def _answer(entry: os.DirEntry[str], question: Callable[[os.DirEntry[str]], bool]) -> bool:
    """The answer to a question about a folder entry; False if the entry cannot be read."""
    try:
        return question(entry)
    except OSError:
        return False


def by_stem(paths: Iterable[str]) -> dict[str, str]:
    """Maps file names without extension to paths; if several files have the same name, the last one wins."""
    return {os.path.splitext(os.path.basename(path))[0]: path for path in paths}


class Layout:
    """Looks for the parts of a data set below its root.

    Args:
        root: folder of the data set.
        title: name of the data set, for messages.
        expected: the layout in one line, for messages.

    Attributes:
        annotations: the files that were read.
        unreadable: (folder, reason) of folders that :meth:`videos` had to skip.

    Raises:
        DataError: the root is not a folder.
    """

    def __init__(self, root: Path, title: str, expected: str) -> None:
        self.root, self.title, self.expected = root, title, expected
        self.annotations: list[str] = []
        self.unreadable: list[tuple[str, str]] = []
        if not os.path.isdir(root):
            what = "a file, not a folder" if os.path.exists(root) else "no such folder"
            raise DataError(f"{root}: {what}; expected the root of {title}: {expected}")

    def folder(self, *names: str) -> Path:
        """The first of these folders that exists.

        Raises:
            DataError: none of them exists.
        """
        for name in names:
            if os.path.isdir(self.root / name):
                return self.root / name
        raise self.lacks(f"folder {' or '.join(names)}")

    def videos(self, folder: Path) -> dict[str, str]:
        """Maps names without extension to paths of the videos below a folder; empty without the folder."""
        if not os.path.isdir(folder):
            return {}
        found = search_videos(folder)
        self.unreadable += found.unreadable
        if found.images:  # the name of a folder has no extension
            return {os.path.basename(path): path for path in found.videos}
        return by_stem(found.videos)

    def names(self, folder: Path) -> list[str]:
        """Names in a folder, sorted.

        Raises:
            DataError: the folder cannot be read.
        """
        try:
            return sorted(os.listdir(folder))
        except OSError as error:
            raise DataError(f"{folder}: this folder cannot be read: {error.strerror or error}") from error

    def find(self, *names: str) -> Path | None:
        """The first of these files that exists, or None."""
        return next((self.root / name for name in names if os.path.isfile(self.root / name)), None)

    def file(self, *names: str) -> Path:
        """The first of these files that exists.

        Raises:
            DataError: none of them exists.
        """
        found = self.find(*names)
        if found is None:
            raise self.lacks(f"file {' or '.join(names)}")
        return found

    def lines(self, path: Path) -> list[str]:
        """The non-empty lines of a text file, without white space around them."""
        return [line.strip() for line in self.text(path).splitlines() if line.strip()]

    def json(self, path: Path) -> Any:
        """The content of a JSON file.

        Raises:
            DataError: the file is not valid JSON.
        """
        try:
            return json.loads(self.text(path))
        except json.JSONDecodeError as error:
            raise DataError(f"{path}: not valid JSON: {error}") from error

    def items(self, path: Path) -> list[Any]:
        """The list in a JSON file.

        Raises:
            DataError: the file contains something else.
        """
        held = self.json(path)
        if not isinstance(held, list):
            raise self.broken(path, f"a {type(held).__name__}", "a list")
        return held

    def table(self, path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
        """Rows of a CSV file whose header must have these columns; missing cells at the end of a row are "".

        Raises:
            DataError: a column is missing.
        """
        reader = csv.DictReader(self.text(path).splitlines(), restval="", restkey="")
        try:
            header, rows = reader.fieldnames, list(reader)
        except csv.Error as error:
            raise DataError(f"{path}: cannot be read as a table: {error}") from error
        absent = [name for name in columns if name not in (header or [])]
        if absent:
            first = header or "(empty file)"
            raise DataError(f"{path}: no column {', '.join(absent)} in its first line {first}")
        return rows

    def text(self, path: Path) -> str:
        """The content of a text file with any line ends. The file is added to `annotations`.

        Raises:
            DataError: the file cannot be read.
        """
        try:
            text = path.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
        self.annotations.append(str(path))
        return text

    def broken(self, path: Path, line: str, expected: str) -> DataError:
        """The error for a line that does not have the official format."""
        return DataError(f"{path}: cannot understand {line[:80]!r}; expected {expected}")

    def lacks(self, what: str) -> DataError:
        """The error for a missing part of the layout."""
        return DataError(
            f"{self.root}: not the root of {self.title}: no {what} in it; expected {self.expected}"
        )
