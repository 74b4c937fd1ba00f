"""Which row, or which video outside the file, a user means by VIDEO[@SECONDS]."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bodvcl.embed.file import Embeddings
from bodvcl.errors import ConfigError, DataError
from bodvcl.system.folders import expand
from bodvcl.text.moments import video_and_seconds
from bodvcl.text.words import printable, suggestion

_NAMED = 5
"""Matches of an ambiguous name that the message names."""
_SUGGESTED_OF = 20_000
"""Of more names than that, no similar one is looked for."""


class Asked(NamedTuple):
    """What a user asked for.

    Attributes:
        path: the video, as the file stores it, or a path on the disk.
        row: number of its row. None: its vectors must be computed.
        video: number of the video in the file. None: it is not there.
        seconds: the moment that is not a row. None: the row, or the whole video.
    """

    path: str
    row: int | None
    video: int | None
    seconds: float | None


def asked_video(embeddings: Embeddings, text: str) -> Asked:
    """The row that ``--like`` names, else a video on the disk.

    A row is named by its path, by a path that leads to the same file, or by the end of its path if no other
    video has it. Of several rows of a video, it is the one around the second, or the one in the middle. If a
    video has one row, a second is a moment that is not a row.

    Raises:
        ConfigError: the name is ambiguous.
        DataError: no such video, or it ends before that second.
    """
    paths = list(dict.fromkeys(embeddings.paths))

    def known(name: str) -> bool:
        return bool(paths_named(paths, name)) or expand(name).is_file()

    name, seconds = video_and_seconds(text, known, "--like")
    matches = paths_named(paths, name)
    if len(matches) > 1:
        more = f" and {len(matches) - _NAMED:,} more" if len(matches) > _NAMED else ""
        raise ConfigError(
            f"--like {printable(name)}: {len(matches):,} videos of the file have this name: "
            f"{', '.join(map(printable, matches[:_NAMED]))}{more}; give more of the path"
        )
    if matches:
        return _in_file(embeddings, matches[0], seconds)
    if not expand(name).is_file():
        names = {os.path.basename(path) for path in paths} if len(paths) <= _SUGGESTED_OF else ()
        raise DataError(
            f"--like {printable(text)}: no such video in the file of embeddings"
            f"{suggestion(Path(name).name, names)}, and no such file"
        )
    return Asked(str(expand(name)), None, None, seconds)


def paths_named(paths: Sequence[str], name: str) -> list[str]:
    """The stored paths that a name may mean; a file on the disk that none of them is has precedence over ends
    of paths."""
    wanted = expand(name)
    for exact in (name, str(wanted), os.path.abspath(wanted)):
        if exact in paths:
            return [exact]
    if wanted.is_file():
        alike = [path for path in paths if os.path.basename(path) == wanted.name]
        return [path for path in alike if os.path.realpath(path) == os.path.realpath(wanted)][:1]
    return [path for path in paths if path.endswith(f"/{name}")]


def _in_file(embeddings: Embeddings, path: str, seconds: float | None) -> Asked:
    rows = np.flatnonzero(np.array([stored == path for stored in embeddings.paths]))
    start, end = embeddings.start[rows], embeddings.end[rows]
    if seconds is not None and seconds >= end.max():
        raise DataError(
            f"--like {printable(path)}@{seconds:g}: its last row ends at {end.max():.2f} s; "
            "give an earlier second"
        )
    if seconds is not None and len(rows) == 1:
        return Asked(path, None, int(embeddings.video[rows[0]]), seconds)
    middle = (start + end) / 2
    wanted = middle.mean() if seconds is None else seconds
    row = int(rows[np.argmin(np.abs(middle - wanted))])
    return Asked(path, row, int(embeddings.video[row]), None)
