"""Find the videos of a data set, and learn which of them can be used before training starts."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from bodvcl.config.schema import ClipConfig
from bodvcl.data.files.check import check_files
from bodvcl.data.files.clip_fit import why_unfit
from bodvcl.data.files.index import VideoIndex
from bodvcl.data.files.repeats import Repeat, repeats_report, without_repeats
from bodvcl.data.files.training_part import TrainingPart, first_of_same, training_part
from bodvcl.data.files.video import BadVideo, VideoInfo
from bodvcl.data.sets import BuiltInSettings, DatasetRows, VideoRow, open_dataset
from bodvcl.data.sets.layout import VIDEO_EXTENSIONS
from bodvcl.errors import ConfigError, DataError
from bodvcl.text.words import counted, printable


@dataclass(frozen=True)
class ScanResult:
    """What a scan found.

    Attributes:
        data: what the data set's own files say: splits, classes, what is missing.
        videos: usable videos, sorted by path (folder) or in the order of the lists; in each split a video
            occurs once, however often and under however many names it is listed.
        skipped: (path, reason) of files that look like videos, or are listed, but cannot be used.
        checked: files that had to be opened, because the index did not know them.
        repeats: videos that are listed more than once, as the same file, a link or a copy.
    """

    data: DatasetRows
    videos: list[VideoInfo]
    skipped: list[tuple[str, str]]
    checked: int = 0
    repeats: list[Repeat] = field(default_factory=list)

    def training(self) -> list[VideoInfo]:
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
        """A mirrored video must not carry the label of the one that was not mirrored.

        Raises:
            ConfigError: clips would be flipped, and a class of the data says left or right.
        """
        sided = self.data.flip_forbidden_by
        if probability > 0 and sided is not None:
            raise ConfigError(
                f"augment.flip is {probability:g}, but the class {sided!r} of {self.data.name} says left or "
                "right, and a mirrored video would have another label; add --augment.flip 0"
            )

    def split(self, name: str) -> list[VideoInfo]:
        """The videos of one split of the list."""
        return [video for video in self.videos if video.split == name]

    def summary(self, shown: int = 10) -> list[str]:
        """Lines for the user: what was found, what was skipped and why.

        Args:
            shown: skipped files to name, at most.
        """
        videos = first_of_same(self.videos)
        seconds = sum(video.duration for video in videos)
        sizes = Counter((video.width, video.height) for video in videos)
        codecs = Counter(video.codec for video in videos)
        (width, height), _ = sizes.most_common(1)[0]
        more = f" and {counted(len(sizes) - 1, 'other size')}" if len(sizes) > 1 else ""
        frames = [video.frames for video in videos]
        lines = [
            f"found {counted(len(videos), 'video')} in {printable(self.data.name)}: {_duration(seconds)}, "
            f"{_rates([video.fps for video in videos])}, "
            f"{_range(frames)} {'frame' if set(frames) == {1} else 'frames'} each, {width}x{height}{more}, "
            + ", ".join(
                f"{name} {count}" if len(codecs) > 1 else name for name, count in codecs.most_common()
            )
        ]
        if self.data.others:
            be = "is" if self.data.others == 1 else "are"
            lines.append(f"ignored {counted(self.data.others, 'file')} that {be} no video")
        lines += [f"note: {printable(note)}" for note in self.data.notes]
        lines += _under(repeats_report(self.repeats), shown)
        if self.data.unreadable:
            folders = counted(len(self.data.unreadable), "folder")
            lines.append(f"passed over {folders} that cannot be looked into:")
            lines += _first([f"{printable(path)}: {reason}" for path, reason in self.data.unreadable], shown)
        if self.data.missing:
            listed = len(self.data.rows) + len(self.data.missing)
            lines.append(f"missing {counted(len(self.data.missing), 'video')} of {listed:,} that are listed:")
            lines += _first(list(map(printable, self.data.missing)), shown)
        lines += jump_lines(videos, shown)
        if self.skipped:
            lines.append(f"skipped {counted(len(self.skipped), 'file')}:")
            lines += _first([f"{printable(path)}: {reason}" for path, reason in self.skipped], shown)
        return lines


def _under(lines: Sequence[str], shown: int) -> list[str]:
    """A heading and the first of the lines that belong to it."""
    return [*lines[:1], *_first(lines[1:], shown)]


def jump_lines(videos: Sequence[VideoInfo], shown: int) -> list[str]:
    """What to say of videos whose timestamps jump; nothing if there is none."""
    jumping = [video for video in videos if video.jumps]
    if not jumping:
        return []
    of_them = [f"{printable(video.path)}: at {counted(video.jumps, 'frame')}" for video in jumping]
    return [
        f"timestamps repeat, go back or leave a gap in {counted(len(jumping), 'video')}; --clip.fps goes on "
        "there as if nothing were missing:",
        *_first(of_them, shown),
    ]


def _first(lines: Sequence[str], shown: int) -> list[str]:
    more = [f"  and {len(lines) - shown} more"] if len(lines) > shown else []
    return [*(f"  {line}" for line in lines[:shown]), *more]


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _range(values: Sequence[float]) -> str:
    low, high = f"{min(values):.4g}", f"{max(values):.4g}"
    return low if low == high else f"{low}-{high}"


def _rates(rates: Sequence[float]) -> str:
    known = [rate for rate in rates if rate]
    return f"{_range(known)} fps" if known else "unknown frame rate"


def _unfit(row: VideoRow, info: VideoInfo, clip: ClipConfig | None) -> str | None:
    """Why a readable video cannot be used here, or None."""
    if row.segment is not None:
        return (
            f"{row.segment.start:g} to {row.segment.end:g} s of a long video; cut them out first: "
            "bodvcl data transcode"
        )
    return None if clip is None else why_unfit(info, clip)


def scan(
    source: str | os.PathLike[str],
    *,
    clip: ClipConfig | None,
    settings: BuiltInSettings | None = None,
    workers: int | None = None,
    progress: bool = True,
) -> ScanResult:
    """Check every video of a data set, and keep in the index what was learnt.

    Args:
        source: a data set by name, a folder or a .csv list; see :func:`bodvcl.data.sets.open_dataset`.
        clip: a video too short for one clip is skipped, unless `clip.short` is "repeat". None: any length.
        settings: settings of the built-in data sets. None: their defaults.
        workers: processes. 0: check in this process. None: one per core.
        progress: show a progress bar.

    Raises:
        DataError: the source does not exist or cannot be read, or holds no usable video.
    """
    data = open_dataset(source, settings, workers=workers, progress=progress)
    with VideoIndex() as index:
        paths = [row.path for row in data.rows]
        results, checked = check_files(paths, index, workers=workers, progress=progress)
    videos: list[VideoInfo] = []
    skipped: list[tuple[str, str]] = []
    for row in data.rows:
        result = results[row.path]
        reason = result.reason if isinstance(result, BadVideo) else _unfit(row, result, clip)
        if reason is not None:
            skipped.append((row.path, reason))
        else:
            videos.append(replace(result, split=row.split, labels=dict(row.labels)))
    skipped = list(dict.fromkeys(skipped))
    if not videos:
        raise DataError(_nothing_usable(data, skipped))
    kept, repeats = without_repeats(videos, progress=progress)
    return ScanResult(data, kept, skipped, checked, repeats)


def _nothing_usable(data: DatasetRows, skipped: list[tuple[str, str]]) -> str:
    closed = ""
    if data.unreadable:
        (folder, reason), folders = data.unreadable[0], counted(len(data.unreadable), "folder")
        closed = f"; {folders} cannot be looked into, for example {folder}: {reason}"
    return printable(_why_nothing(data, skipped) + closed)


def _why_nothing(data: DatasetRows, skipped: list[tuple[str, str]]) -> str:
    if skipped:
        example, reason = skipped[0]
        files = counted(len(skipped), "video file")
        return f"{data.name}: none of its {files} can be used; for example {example}: {reason}"
    if data.missing:
        listed = counted(len(data.missing), "listed video")
        return f"{data.name}: none of its {listed} is below {data.root}; for example {data.missing[0]}"
    if data.annotations:
        return (
            f"{data.name}: the list has no row; expected a row per video below the line with the column names"
        )
    return (
        f"{data.name}: no video found in it or below ({counted(data.others, 'other file')} seen); looked for "
        f"names ending in .mp4, .mkv, .webm, .avi, .mov and {len(VIDEO_EXTENSIONS) - 5} more; a .csv list "
        f"may name any file"
    )
