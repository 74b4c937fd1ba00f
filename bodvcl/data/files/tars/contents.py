"""What a local tar file holds: its videos, and the labels that stand beside them.

The layout is that of WebDataset: files of one sample have one name up to the first dot. ``clip7.mp4`` is the
video, ``clip7.cls`` holds its class, and ``clip7.json`` may have the fields ``label`` and ``split``.
"""

from __future__ import annotations

import hashlib
import json
import posixpath
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from bodvcl.data.sets.layout import is_video_name
from bodvcl.data.tars.held import HeldError
from bodvcl.text.words import counted

LABEL = "label"
"""Label column that ``.cls`` files and the field of ``.json`` files go to."""
_LARGEST_NOTE = 2**20  # bytes of a .cls or .json file that is read
_CHUNK = 2**20


@dataclass(frozen=True)
class Member:
    """A video in a tar file.

    Attributes:
        name: its path in the tar file.
        start, size: its first byte in the tar file, and the number of its bytes.
        digest: 16 bytes that are equal for equal content.
        labels: label column to class name.
        split: split that its ``.json`` names; "" for none.
    """

    name: str
    start: int
    size: int
    digest: bytes
    labels: dict[str, str]
    split: str


def members(path: Path) -> list[Member]:
    """The videos of a tar file, in order.

    Raises:
        HeldError: it is no tar file, it is compressed, or it ends too early.
    """
    videos: dict[str, tuple[int, int]] = {}
    notes: dict[str, dict[str, str]] = {}
    try:
        with open(path, "rb") as raw:
            for entry in _entries(raw):
                name = posixpath.normpath(entry.name).lstrip("/")
                if is_video_name(posixpath.basename(name)):
                    videos[name] = entry.offset_data, entry.size  # of files with one name the last counts
                elif name.endswith((".cls", ".json")) and entry.size <= _LARGEST_NOTE:
                    raw.seek(entry.offset_data)
                    notes.setdefault(_key(name), {}).update(_read_note(name, raw.read(entry.size)))
            return [_member(raw, name, at, notes.get(_key(name), {})) for name, at in videos.items()]
    except OSError as error:
        raise HeldError(error.strerror or str(error)) from error


def _entries(raw: BinaryIO) -> Iterator[tarfile.TarInfo]:
    """The regular files of a tar file that is complete: an empty block follows the last one."""
    count = 0
    try:
        with tarfile.open(fileobj=raw, mode="r:") as archive:
            for entry in archive:
                count += 1
                if entry.isreg() and not entry.issparse():
                    yield entry
            end = archive.offset
    except tarfile.TarError as error:
        what = "truncated or damaged" if count else "not a tar file, or a compressed one: unpack it"
        raise HeldError(f"{what} (after {counted(count, 'file')}: {error})") from error
    raw.seek(end)
    block = raw.read(tarfile.BLOCKSIZE)
    if len(block) < tarfile.BLOCKSIZE or any(block):
        raise HeldError(f"truncated: it ends after {counted(count, 'file')} without the mark of its end")


def _member(raw: BinaryIO, name: str, at: tuple[int, int], note: dict[str, str]) -> Member:
    start, size = at
    digest = hashlib.blake2b(digest_size=16)
    raw.seek(start)
    left = size
    while left:
        part = raw.read(min(left, _CHUNK))
        digest.update(part)
        left -= len(part)
    labels = {LABEL: note[LABEL]} if LABEL in note else {}
    return Member(name, start, size, digest.digest(), labels, note.get("split", ""))


def _key(name: str) -> str:
    """Name of the sample that a file belongs to: its path up to the first dot of the file name."""
    folder, base = posixpath.split(name)
    return posixpath.join(folder, base.partition(".")[0])


def _read_note(name: str, content: bytes) -> dict[str, str]:
    """Label and split that a .cls or .json file gives; nothing where it cannot be understood."""
    text = content.decode("utf-8", "replace").strip()
    if name.endswith(".cls"):
        return {LABEL: text} if text else {}
    try:
        told = json.loads(text)
    except json.JSONDecodeError:
        return {}
    if not isinstance(told, dict):
        return {}
    given = {field: told[field] for field in (LABEL, "split") if isinstance(told.get(field), (str, int))}
    return {field: str(value).strip() for field, value in given.items() if str(value).strip()}
