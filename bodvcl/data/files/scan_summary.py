"""What a scan tells the user."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bodvcl.data.files.columns import counts, numbers
from bodvcl.data.files.images_report import images_report
from bodvcl.data.files.parts_report import parts_report
from bodvcl.data.files.repeats import Repeat, repeats_report
from bodvcl.data.files.training_part import first_of_same
from bodvcl.data.files.video import VideoInfo
from bodvcl.data.sets import DatasetRows
from bodvcl.data.sets.layout import VIDEO_EXTENSIONS
from bodvcl.text.words import counted, printable


def summary_lines(
    data: DatasetRows,
    videos: Sequence[VideoInfo],
    skipped: Sequence[tuple[str, str]],
    repeats: Sequence[Repeat],
    shown: int,
) -> list[str]:
    """Lines for the user: what was found, what was skipped and why.

    Args:
        data: what the data set lists.
        videos: its usable videos, one or more.
        skipped: (path, reason) of the files that cannot be used.
        repeats: videos that are listed more than once.
        shown: most files to name under each heading.
    """
    parts = parts_report(videos)
    videos = first_of_same(videos)
    seconds = float(numbers(videos, "duration").sum())
    sizes = Counter(counts(videos, "width", "height"))
    codecs = Counter(counts(videos, "codec"))
    (width, height), _ = sizes.most_common(1)[0]
    more = f" and {counted(len(sizes) - 1, 'other size')}" if len(sizes) > 1 else ""
    frames = numbers(videos, "frames")
    lines = [
        f"found {counted(len(videos), 'video')} in {printable(data.name)}: {_duration(seconds)}, "
        f"{_rates(numbers(videos, 'fps'))}, "
        f"{_range(frames)} {'frame' if frames.max() == 1 else 'frames'} each, {width}x{height}{more}, "
        + ", ".join(f"{name} {count}" if len(codecs) > 1 else name for name, count in codecs.most_common())
    ]
    rate, gaps = images_report(videos)
    lines += [*parts, *rate]
    if data.others:
        lines.append(f"ignored {counted(data.others, 'non-video file')}")
    lines += [f"note: {printable(note)}" for note in data.notes]
    lines += _under(repeats_report(repeats), shown)
    if data.unreadable:
        folders = counted(len(data.unreadable), "folder")
        lines.append(f"skipped {folders} that cannot be read:")
        lines += _first([f"{printable(path)}: {reason}" for path, reason in data.unreadable], shown)
    if data.missing:
        listed = len(data.rows) + len(data.missing)
        lines.append(f"missing {counted(len(data.missing), 'video')} of {listed:,} listed:")
        lines += _first(list(map(printable, data.missing)), shown)
    lines += _under(gaps, shown)
    lines += jump_lines(videos, shown)
    if skipped:
        lines.append(f"skipped {counted(len(skipped), 'file')}:")
        lines += _first([f"{printable(path)}: {reason}" for path, reason in skipped], shown)
    return lines


def _under(lines: Sequence[str], shown: int) -> list[str]:
    """A heading and the first of the lines that belong to it."""
    return [*lines[:1], *_first(lines[1:], shown)]


def jump_lines(videos: Sequence[VideoInfo], shown: int) -> list[str]:
    """Lines about videos whose timestamps jump; none if there is no such video."""
    jumping = np.flatnonzero(numbers(videos, "jumps"))
    if not len(jumping):
        return []
    named = [videos[place] for place in jumping[:shown].tolist()]
    more = [f"  and {len(jumping) - shown} more"] if len(jumping) > shown else []
    return [
        f"timestamps repeat, go back or leave a gap in {counted(len(jumping), 'video')}; --clip.fps ignores "
        "these jumps:",
        *(f"  {printable(video.path)}: at {counted(video.jumps, 'frame')}" for video in named),
        *more,
    ]


def _first(lines: Sequence[str], shown: int) -> list[str]:
    more = [f"  and {len(lines) - shown} more"] if len(lines) > shown else []
    return [*(f"  {line}" for line in lines[:shown]), *more]


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _range(values: NDArray[Any]) -> str:
    low, high = f"{values.min():.4g}", f"{values.max():.4g}"
    return low if low == high else f"{low}-{high}"


def _rates(rates: NDArray[Any]) -> str:
    known = rates[rates > 0]
    return f"{_range(known)} fps" if len(known) else "unknown frame rate"


def nothing_usable(data: DatasetRows, skipped: Sequence[tuple[str, str]]) -> str:
    """Why a data set without a usable video has none."""
    closed = ""
    if data.unreadable:
        (folder, reason), folders = data.unreadable[0], counted(len(data.unreadable), "folder")
        closed = f"; {folders} cannot be read, for example {folder}: {reason}"
    return printable(_why_nothing(data, skipped) + closed)


def _why_nothing(data: DatasetRows, skipped: Sequence[tuple[str, str]]) -> str:
    if skipped:
        example, reason = skipped[0]
        files = counted(len(skipped), "video file")
        return f"{data.name}: none of its {files} can be used; for example {example}: {reason}"
    if data.missing:
        listed = counted(len(data.missing), "listed video")
        return f"{data.name}: none of its {listed} was found below {data.root}; for example {data.missing[0]}"
    if data.annotations:
        return f"{data.name}: the list has no row; expected one row per video below the line of column names"
    return (
        f"{data.name}: no video found in this folder or below ({counted(data.others, 'other file')} seen); "
        f"looked for .mp4, .mkv, .webm, .avi, .mov and {len(VIDEO_EXTENSIONS) - 5} other extensions, and for "
        "folders of numbered .jpg or .png images; a .csv list may name files with any extension"
    )
