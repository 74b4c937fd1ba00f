"""Scan tar files of videos: check them and gather their rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

from bodvcl.data.files.repeats import Repeat
from bodvcl.data.tars.names import TarFile
from bodvcl.errors import ConfigError

if TYPE_CHECKING:
    from bodvcl.data.files.tars.table import VideoTable


@dataclass(frozen=True)
class TarScan:
    """What tar files hold.

    Attributes:
        videos: usable videos, in the order of the tar files; one with the same bytes occurs once per split.
        skipped: (path, reason) of the others.
        checked: number of tar files that had to be opened.
        repeats: videos that are there more than once.
        classes: label column to class names.
    """

    videos: VideoTable
    skipped: list[tuple[str, str]]
    checked: int
    repeats: list[Repeat]
    classes: dict[str, tuple[str, ...]]


def scan_tars(tars: Sequence[TarFile], *, workers: int | None, progress: bool) -> TarScan:
    """Check every video of some tar files, except in those that an earlier scan has checked.

    Args:
        tars, workers, progress: as in :func:`bodvcl.data.files.tars.check.check_tars`.

    Raises:
        ConfigError: pyarrow is not installed.
        DataError: a tar file cannot be read, or the results cannot be written.
    """
    if find_spec("pyarrow") is None:
        raise ConfigError("videos in tar files need the package pyarrow: pip install pyarrow")
    from bodvcl.data.files.tars.check import check_tars
    from bodvcl.data.files.tars.gather import gathered, repeats_of

    results, checked = check_tars(tars, workers=workers, progress=progress)
    videos = gathered(tars, results)
    return TarScan(
        videos,
        [(path, reason) for path, reason in videos.facts["bad"]],
        checked,
        repeats_of(videos),
        {name: tuple(values) for name, values in videos.facts["classes"].items()},
    )
