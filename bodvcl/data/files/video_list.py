"""Which videos a run trains on, described by facts that do not change when the files are moved."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Protocol, runtime_checkable

from bodvcl.data.files.video import VideoInfo
from bodvcl.text.words import printable

Facts = tuple[int, ...]


@dataclass(frozen=True)
class VideoList:
    """Videos in the order of their numbers. Two are equal if ``files`` are.

    Attributes:
        root: the deepest folder that contained all of them when the list was made.
        files: path below ``root``, and bytes, frames, width, height and fingerprint, of each video; or of
            each tar file of videos, its bytes and the number of its videos. Lists of older versions have no
            fingerprints.
    """

    root: str
    files: tuple[tuple[str, Facts], ...]

    def dump(self) -> str:
        """The list as JSON text; :meth:`load` reads it."""
        return json.dumps({"root": self.root, "files": self.files})

    @classmethod
    def load(cls, text: str) -> VideoList:
        """The list that :meth:`dump` wrote."""
        state = json.loads(text)
        return cls(state["root"], tuple((name, tuple(facts)) for name, facts in state["files"]))


@runtime_checkable
class InTars(Protocol):
    """Videos in tar files, of which the list names the tar files."""

    def files(self) -> list[tuple[str, Facts]]:
        """Path or URL of each tar file; its bytes, and how many of these videos it holds."""


def list_videos(videos: Sequence[VideoInfo]) -> VideoList:
    """The list of one or more videos; a file that no longer exists has -1 bytes.

    Videos in tar files are not listed one by one: the files are the tar files, with their bytes and number of
    videos as facts.
    """
    if isinstance(videos, InTars):
        return _listed(videos.files())
    return _listed([(_name(video), _facts(video)) for video in videos])


def _name(video: VideoInfo) -> str:
    path = os.path.abspath(video.path)
    return (
        path if video.whole is None else f"{path}, frames {video.first} to {video.first + video.frames - 1}"
    )


def _facts(video: VideoInfo) -> Facts:
    size = video.image_bytes or _size(video.path)
    return size, video.frames, video.width, video.height, video.fingerprint


def _listed(files: Sequence[tuple[str, Facts]]) -> VideoList:
    folders = [path.split("/")[:-1] for path, _ in files]
    pairs = zip(min(folders), max(folders))  # what these two share, all share
    root = "/".join(part for part, _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))
    return VideoList(root or "/", tuple((path[len(root) + 1 :], facts) for path, facts in files))


def difference(before: VideoList, now: VideoList) -> str | None:
    """How many videos appeared, vanished and changed, with some names; None if the lists are equal."""
    before, now = _with_facts_of_both(before, now)
    if before.files == now.files:
        return None
    old, new = _named_alike(before, now)
    kinds = {
        "appeared": [name for name in new if name not in old],
        "vanished": [name for name in old if name not in new],
        "changed": [name for name in new if old.get(name, new[name]) != new[name]],
    }
    told = [f"{len(names):,} {what} ({_some(names)})" for what, names in kinds.items() if names]
    return ", ".join(told) or "the same videos in another order"


def _with_facts_of_both(before: VideoList, now: VideoList) -> tuple[VideoList, VideoList]:
    """Both lists, with only the facts that each of them has of every file."""
    count = min((len(facts) for found in (before, now) for _, facts in found.files), default=0)
    one, other = (
        VideoList(found.root, tuple((name, facts[:count]) for name, facts in found.files))
        for found in (before, now)
    )
    return one, other


def _named_alike(before: VideoList, now: VideoList) -> tuple[dict[str, Facts], dict[str, Facts]]:
    """The facts of both lists by name, relative to the folders that make most files equal.

    A file that appears or vanishes can change the deepest common folder. The names of one list then begin
    with some of the last folders of its ``root``.
    """
    old, new = dict(before.files), dict(now.files)
    pairs = [(old, new)]
    pairs += [(old, _below(start, new)) for start in _endings(now.root)]
    pairs += [(_below(start, old), new) for start in _endings(before.root)]
    return max(pairs, key=_agreement)


def _agreement(pair: tuple[dict[str, Facts], dict[str, Facts]]) -> tuple[int, int]:
    old, new = pair
    return len(old.items() & new.items()), len(old.keys() & new.keys())


def _endings(root: str) -> list[str]:
    parts = PurePath(root).parts[1:]
    return [os.path.join(*parts[-length:]) for length in range(1, len(parts) + 1)]


def _below(start: str, files: Mapping[str, Facts]) -> dict[str, Facts]:
    return {os.path.join(start, name): facts for name, facts in files.items()}


def _some(names: Sequence[str], most: int = 3) -> str:
    more = ", ..." if len(names) > most else ""
    return ", ".join(printable(name) for name in names[:most]) + more


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return -1
