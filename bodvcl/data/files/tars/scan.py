"""Scan tar files of videos: check them, gather their rows, and leave out videos that hold no clip."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bodvcl.config.schema import ClipConfig
from bodvcl.data.files.clip_fit import why_unfit
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


def scan_tars(
    tars: Sequence[TarFile], clip: ClipConfig | None, *, workers: int | None, progress: bool
) -> TarScan:
    """Check every video of some tar files, except in those that an earlier scan has checked.

    Args:
        tars, workers, progress: as in :func:`bodvcl.data.files.tars.check.check_tars`.
        clip: clips that a video must hold. None: any length is accepted.

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
    skipped = [(path, reason) for path, reason in videos.facts["bad"]]
    fits, unfit = (np.ones(len(videos), bool), []) if clip is None else judged(videos, clip)
    return TarScan(
        videos if fits.all() else videos.taken(fits),
        skipped + unfit,
        checked,
        repeats_of(videos),
        {name: tuple(values) for name, values in videos.facts["classes"].items()},
    )


def judged(videos: VideoTable, clip: ClipConfig) -> tuple[NDArray[np.bool_], list[tuple[str, str]]]:
    """Which videos hold a clip: bool (videos,); (path, reason) of the others.

    Videos of one length and frame rate are judged once. With ``clip.fps`` those of a variable rate are judged
    one by one.
    """
    names = ["frames"] if clip.fps is None else ["frames", "fps", "pts_step", "time_base"]
    codes, first = videos.kinds(names)
    if clip.fps is not None:
        codes, first = _apart(codes, videos.numbers("variable_rate"))
    reasons = [why_unfit(videos[place], clip) for place in first.tolist()]
    unfit = np.array([reason is not None for reason in reasons], bool)[codes]
    paths = videos.taken(unfit).paths() if unfit.any() else []
    told = [reasons[code] or "" for code in codes[unfit].tolist()]
    return ~unfit, list(zip(paths, told))


def _apart(codes: NDArray[np.int32], alone: NDArray[np.bool_]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """The kinds, but each of some videos is a kind of its own: codes, and the first place of each kind."""
    codes = codes.copy()
    codes[alone] = codes.max(initial=0) + 1 + np.arange(alone.sum())
    _, first, numbers = np.unique(codes, return_index=True, return_inverse=True)
    return numbers.astype(np.int32), first.astype(np.int32)
