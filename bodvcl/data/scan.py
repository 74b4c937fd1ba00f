"""Find the videos of a data set, and learn which of them can be used before training starts."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from bodvcl.config import ClipConfig
from bodvcl.data.clips import required_frames
from bodvcl.data.sets import DatasetRows, VideoRow, open_dataset
from bodvcl.data.sets.layout import VIDEO_EXTENSIONS
from bodvcl.data.video import BadVideo, VideoInfo, probe_video
from bodvcl.data.workers import available_cores
from bodvcl.errors import ConfigError, DataError
from bodvcl.progress import progress_bar


@dataclass(frozen=True)
class ScanResult:
    """What a scan found.

    Attributes:
        data: what the data set's own files say: splits, classes, what is missing.
        videos: usable videos, sorted by path (folder) or in the order of the lists.
        skipped: (path, reason) of files that look like videos, or are listed, but cannot be used.
    """

    data: DatasetRows
    videos: list[VideoInfo]
    skipped: list[tuple[str, str]]

    def training(self) -> list[VideoInfo]:
        """The videos to train on: the split train, or where no split has that name all but probe_*."""
        named = self.split("train")
        return named or [video for video in self.videos if not video.split.startswith("probe")]

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
        seconds = sum(video.duration for video in self.videos)
        sizes = Counter((video.width, video.height) for video in self.videos)
        codecs = Counter(video.codec for video in self.videos)
        (width, height), _ = sizes.most_common(1)[0]
        more = f" and {len(sizes) - 1} other sizes" if len(sizes) > 1 else ""
        lines = [
            f"found {_count(len(self.videos), 'video')} in {self.data.name}: {_duration(seconds)}, "
            f"{_range([video.fps for video in self.videos])} fps, "
            f"{_range([video.frames for video in self.videos])} frames each, {width}x{height}{more}, "
            + ", ".join(
                f"{name} {count}" if len(codecs) > 1 else name for name, count in codecs.most_common()
            )
        ]
        if self.data.others:
            be = "is" if self.data.others == 1 else "are"
            lines.append(f"ignored {_count(self.data.others, 'file')} that {be} no video")
        lines += self.data.notes
        if self.data.missing:
            listed = len(self.data.rows) + len(self.data.missing)
            lines.append(f"missing {_count(len(self.data.missing), 'video')} of {listed:,} that are listed:")
            lines += [f"  {name}" for name in self.data.missing[:shown]]
            if len(self.data.missing) > shown:
                lines.append(f"  and {len(self.data.missing) - shown} more")
        if self.skipped:
            lines.append(f"skipped {_count(len(self.skipped), 'file')}:")
            lines += [f"  {_printable(path)}: {reason}" for path, reason in self.skipped[:shown]]
            if len(self.skipped) > shown:
                lines.append(f"  and {len(self.skipped) - shown} more")
        return lines


def _printable(path: str) -> str:
    return os.fsencode(path).decode(errors="replace")


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _range(values: Sequence[float]) -> str:
    low, high = f"{min(values):.4g}", f"{max(values):.4g}"
    return low if low == high else f"{low}-{high}"


def _probe(row: VideoRow, clip: ClipConfig) -> VideoInfo | BadVideo:
    try:
        info = probe_video(row.path)
        needed = required_frames(info, clip)
        if info.frames < needed and clip.short == "refuse":
            rate = "" if clip.fps is None else f" at {clip.fps:g} fps"
            raise BadVideo(
                row.path,
                f"{info.frames} frames, a clip of {clip.frames} frames with stride {clip.stride}{rate} needs "
                f"{needed} (--clip.short repeat keeps it)",
            )
    except BadVideo as error:
        return error
    return info


def scan(
    source: str | os.PathLike[str],
    *,
    clip: ClipConfig,
    workers: int | None = None,
    progress: bool = True,
) -> ScanResult:
    """Check every video of a data set.

    Args:
        source: a data set by name, a folder or a .csv list; see :func:`bodvcl.data.sets.open_dataset`.
        clip: a video too short for one clip is skipped, unless `clip.short` is "repeat".
        workers: threads. None: two per core.
        progress: show a progress bar.

    Raises:
        DataError: the source does not exist or cannot be read, or holds no usable video.
    """
    data = open_dataset(source)
    videos: list[VideoInfo] = []
    skipped: list[tuple[str, str]] = []
    pool = ThreadPoolExecutor(workers or 2 * available_cores())
    try:
        results = pool.map(lambda row: _probe(row, clip), data.rows)
        bar = progress_bar(
            results, desc="checking videos", total=len(data.rows), unit="file", disable=not progress
        )
        for row, result in zip(data.rows, bar):
            if isinstance(result, BadVideo):
                skipped.append((result.path, result.reason))
            else:
                videos.append(replace(result, split=row.split, labels=dict(row.labels)))
    finally:
        pool.shutdown(cancel_futures=True)
    if not videos:
        raise DataError(_nothing_usable(data, skipped))
    return ScanResult(data, videos, skipped)


def _nothing_usable(data: DatasetRows, skipped: list[tuple[str, str]]) -> str:
    if skipped:
        example, reason = skipped[0]
        files = _count(len(skipped), "video file")
        return f"{data.name}: none of its {files} can be used; for example {_printable(example)}: {reason}"
    if data.missing:
        listed = _count(len(data.missing), "listed video")
        return f"{data.name}: none of its {listed} is below {data.root}; for example {data.missing[0]}"
    if data.annotations:
        return (
            f"{data.name}: the list has no row; expected a row per video below the line with the column names"
        )
    return (
        f"{data.name}: no video found in it or below ({_count(data.others, 'other file')} seen); looked for "
        f"names ending in .mp4, .mkv, .webm, .avi, .mov and {len(VIDEO_EXTENSIONS) - 5} more; a .csv list "
        f"may name any file"
    )
