"""Find the videos of a folder or of a list, and learn which of them can be used before training starts."""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from bodvcl.config import ClipConfig
from bodvcl.data.clips import required_frames
from bodvcl.data.video import BadVideo, VideoInfo, probe_video
from bodvcl.data.workers import available_cores
from bodvcl.errors import DataError
from bodvcl.progress import progress_bar

VIDEO_EXTENSIONS = frozenset([
    ".3g2", ".3gp", ".amv", ".asf", ".avi", ".divx", ".dv", ".f4v", ".flv", ".gif", ".h264",
    ".h265", ".hevc", ".ivf", ".m1v", ".m2ts", ".m2v", ".m4v", ".mjpeg", ".mjpg", ".mkv", ".mov",
    ".mp4", ".mpe", ".mpeg", ".mpg", ".mpv", ".mts", ".mxf", ".nut", ".ogm", ".ogv", ".qt",
    ".rm", ".rmvb", ".ts", ".vob", ".webm", ".wmv", ".xvid", ".y4m",
])  # fmt: skip
"""File names that a folder is searched for, in lower case. A list may name files with any extension."""


@dataclass(frozen=True)
class ScanResult:
    """What a scan found.

    Attributes:
        source: the folder or list.
        videos: usable videos, sorted by path (folder) or in the order of the list.
        skipped: (path, reason) of files that look like videos, or are listed, but cannot be used.
        others: number of files in the folder that do not look like videos.
    """

    source: str
    videos: list[VideoInfo]
    skipped: list[tuple[str, str]]
    others: int = 0

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
            f"found {_count(len(self.videos), 'video')} in {self.source}: {_duration(seconds)}, "
            f"{_range([video.fps for video in self.videos])} fps, "
            f"{_range([video.frames for video in self.videos])} frames each, {width}x{height}{more}, "
            + ", ".join(
                f"{name} {count}" if len(codecs) > 1 else name for name, count in codecs.most_common()
            )
        ]
        if self.others:
            lines.append(
                f"ignored {_count(self.others, 'file')} that {'is' if self.others == 1 else 'are'} no video"
            )
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


def _search(folder: Path) -> tuple[list[str], int]:
    """Video files below a folder, sorted, and the number of other files. Links are followed, not loops."""
    unreadable: list[OSError] = []
    found, others, seen = [], 0, set()
    for place, folders, names in os.walk(folder, followlinks=True, onerror=unreadable.append):
        real = os.path.realpath(place)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in names:
            if os.path.splitext(name)[1].lower() in VIDEO_EXTENSIONS and not name.startswith("."):
                found.append(os.path.join(place, name))
            else:
                others += 1
    if unreadable:
        raise DataError(f"{unreadable[0].filename}: cannot look into this folder: {unreadable[0].strerror}")
    return sorted(found), others


def _read_list(path: Path) -> list[tuple[str, str, dict[str, str]]]:
    """(path, split, labels) per row; paths are relative to the list."""
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            if "path" not in (reader.fieldnames or []):
                raise DataError(
                    f"{path}: no column named path in its first line {reader.fieldnames or '(empty file)'}; "
                    f"expected for example: path,label"
                )
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read as a list of videos: {error}") from error
    entries = []
    for number, row in enumerate(rows, start=2):
        if None in row or None in row.values() or not row["path"]:
            raise DataError(
                f"{path}: row {number} does not have the {len(row) - (None in row)} columns of its first line"
            )
        labels = {name: value for name, value in row.items() if name not in ("path", "split")}
        entries.append((os.path.join(path.parent, row["path"]), row.get("split", ""), labels))
    return entries


def _probe(path: str, clip: ClipConfig) -> VideoInfo | BadVideo:
    try:
        info = probe_video(path)
        needed = required_frames(info, clip)
        if info.frames < needed and clip.short == "refuse":
            rate = "" if clip.fps is None else f" at {clip.fps:g} fps"
            raise BadVideo(
                path,
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
    """Check every video of a folder or of a list.

    Args:
        source: a folder, searched to any depth, or a .csv list with a column `path` (relative to the
            list), an optional column `split`, and label columns.
        clip: a video too short for one clip is skipped, unless `clip.short` is "repeat".
        workers: threads. None: two per core.
        progress: show a progress bar.

    Raises:
        DataError: the source does not exist or cannot be read, or holds no usable video.
    """
    path = Path(source).expanduser()
    others = 0
    if path.is_dir():
        files, others = _search(path)
        entries = [(file, "", {}) for file in files]
    elif path.suffix.lower() == ".csv" and path.is_file():
        entries = _read_list(path)
    elif path.exists():
        raise DataError(f"{path}: expected a folder of videos, or a .csv list with a column path")
    else:
        raise DataError(f"{path}: no such file or folder; give a folder of videos or a .csv list with --data")
    videos: list[VideoInfo] = []
    skipped: list[tuple[str, str]] = []
    pool = ThreadPoolExecutor(workers or 2 * available_cores())
    try:
        results = pool.map(lambda entry: _probe(entry[0], clip), entries)
        bar = progress_bar(
            results, desc="checking videos", total=len(entries), unit="file", disable=not progress
        )
        for (_, split, labels), result in zip(entries, bar):
            if isinstance(result, BadVideo):
                skipped.append((result.path, result.reason))
            else:
                videos.append(replace(result, split=split, labels=labels))
    finally:
        pool.shutdown(cancel_futures=True)
    if not videos:
        raise DataError(_nothing_usable(path, skipped, others))
    return ScanResult(str(path), videos, skipped, others)


def _nothing_usable(path: Path, skipped: list[tuple[str, str]], others: int) -> str:
    if skipped:
        example, reason = skipped[0]
        files = _count(len(skipped), "video file")
        return f"{path}: none of its {files} can be used; for example {_printable(example)}: {reason}"
    if path.is_dir():
        return (
            f"{path}: no video found in it or below ({_count(others, 'other file')} seen); looked for names "
            f"ending in .mp4, .mkv, .webm, .avi, .mov and {len(VIDEO_EXTENSIONS) - 5} more; a .csv list may "
            f"name any file"
        )
    return f"{path}: the list has no row; expected one row per video below the line with the column names"
