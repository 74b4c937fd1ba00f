"""Find the videos of a data set, and which of them can be used, before training starts."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from bodvcl.config.schema import ClipConfig
from bodvcl.data.files.check import check_files
from bodvcl.data.files.columns import taken, where
from bodvcl.data.files.identity import first_of_each
from bodvcl.data.files.images import at_rate
from bodvcl.data.files.index import VideoIndex
from bodvcl.data.files.judged import judged
from bodvcl.data.files.parts import part_of
from bodvcl.data.files.repeats import Repeat, without_repeats
from bodvcl.data.files.scan_summary import nothing_usable, summary_lines
from bodvcl.data.files.tars.scan import scan_tars
from bodvcl.data.files.training_part import TrainingPart, training_part
from bodvcl.data.files.video import BadVideo, VideoInfo
from bodvcl.data.sets import BuiltInSettings, DatasetRows, VideoRow, open_dataset
from bodvcl.errors import ConfigError, DataError


@dataclass(frozen=True)
class ScanResult:
    """What a scan found.

    Attributes:
        data: what the data set's own files say: splits, classes, missing files.
        videos: usable videos, sorted by path (folder) or in the order of the lists or tar files. In each
            split a video occurs once, even if it is listed several times or under several names.
        skipped: (path, reason) of listed files, or files with the name of a video, that cannot be used.
        checked: number of files (tar files, where the videos are in these) that had to be opened because the
            index did not know them.
        repeats: videos that are listed more than once, as the same file, a link or a copy.
    """

    data: DatasetRows
    videos: Sequence[VideoInfo]
    skipped: list[tuple[str, str]]
    checked: int = 0
    repeats: list[Repeat] = field(default_factory=list)

    def training(self) -> Sequence[VideoInfo]:
        """The videos to train on; see :func:`bodvcl.data.files.training_part.training_part`.

        Raises:
            DataError: there are none.
        """
        return self.training_part().videos

    def training_part(self) -> TrainingPart:
        """The videos to train on, and a line that says which they are.

        Raises:
            DataError: there are none.
        """
        return training_part(self.data, self.videos)

    def refuse_flip(self, probability: float) -> None:
        """Check that mirroring clips does not make their labels wrong.

        Raises:
            ConfigError: `probability` is above 0, and a class name says left or right.
        """
        sided = self.data.flip_forbidden_by
        if probability > 0 and sided is not None:
            raise ConfigError(
                f"augment.flip is {probability:g}, but the class {sided!r} of {self.data.name} says left or "
                "right: a mirrored video would have the wrong label; add --augment.flip 0"
            )

    def holding(self, clip: ClipConfig | None) -> ScanResult:
        """Without the videos that hold no clip, which count as skipped.

        Args:
            clip: clips that a video must hold; shorter ones are skipped unless `clip.short` is "repeat".
                None: any length is accepted.

        Raises:
            DataError: no video holds one.
        """
        if clip is None:
            return self
        fits, unfit = judged(self.videos, clip)
        if fits.all():
            return self
        skipped = list(dict.fromkeys([*self.skipped, *unfit]))
        if not fits.any():
            raise DataError(nothing_usable(self.data, skipped))
        return replace(self, videos=taken(self.videos, fits), skipped=skipped)

    def split(self, name: str) -> Sequence[VideoInfo]:
        """The videos of one split of the list."""
        return taken(self.videos, where(self.videos, "split", name.__eq__))

    def summary(self, shown: int = 10) -> list[str]:
        """Lines for the user: what was found, what was skipped and why.

        Args:
            shown: most files to name under each heading.
        """
        return summary_lines(self.data, self.videos, self.skipped, self.repeats, shown)


def _video(row: VideoRow, info: VideoInfo, image_fps: float) -> VideoInfo:
    """The video of a row, from what is known of its file.

    Raises:
        BadVideo: it cannot be used, although the file can be read.
    """
    info = at_rate(info, row.fps or image_fps) if info.images else info
    video = info if row.segment is None else part_of(info, row.segment)
    return replace(video, split=row.split, labels=dict(row.labels))


def scan(
    source: str | os.PathLike[str],
    *,
    clip: ClipConfig | None,
    settings: BuiltInSettings | None = None,
    workers: int | None = None,
    progress: bool = True,
    image_fps: float | None = None,
) -> ScanResult:
    """Check every video of a data set, keep the results in the index, and leave out videos that hold no clip.

    Args:
        source: a data set by name, a folder, a .csv list or tar files; see
            :func:`bodvcl.data.sets.open_dataset`.
        clip: as for :meth:`ScanResult.holding`.
        settings: settings of the built-in data sets. None: their defaults.
        workers: number of processes. 0: check in this process. None: one per core.
        progress: show a progress bar.
        image_fps: frame rate of folders of images where the list says none. None: that of ``clip``, or its
            default.

    Raises:
        DataError: the source does not exist or cannot be read, or holds no usable video.
    """
    data = open_dataset(source, settings, workers=workers, progress=progress)
    if data.tars:
        held = scan_tars(data.tars, workers=workers, progress=progress)
        data = replace(data, classes=held.classes)
        if not len(held.videos):
            raise DataError(nothing_usable(data, held.skipped))
        return ScanResult(data, held.videos, held.skipped, held.checked, held.repeats).holding(clip)
    with VideoIndex() as index:
        paths = [row.path for row in data.rows]
        results, checked = check_files(paths, index, workers=workers, progress=progress)
    if image_fps is None:
        image_fps = (clip or ClipConfig).image_fps
    videos: list[VideoInfo] = []
    skipped: list[tuple[str, str]] = []
    for row in data.rows:
        result = results[row.path]
        if isinstance(result, BadVideo):
            skipped.append((row.path, result.reason))
            continue
        try:
            videos.append(_video(row, result, image_fps))
        except BadVideo as error:
            skipped.append((error.path, error.reason))
    skipped = list(dict.fromkeys(skipped))
    if not videos:
        raise DataError(nothing_usable(data, skipped))
    kept, repeats = without_repeats(videos, first_of_each(videos, progress=progress))
    return ScanResult(data, kept, skipped, checked, repeats).holding(clip)
