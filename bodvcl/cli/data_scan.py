"""``bodvcl data scan``: check the files of a data set and say what training can use."""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from bodvcl.cli.console import uninterrupted
from bodvcl.config.command_line import Flag, Positional, argument, parse
from bodvcl.config.schema import STRICT
from bodvcl.errors import DataError
from bodvcl.text.words import counted, printable

if TYPE_CHECKING:
    from bodvcl.data.files.scan import ScanResult
    from bodvcl.data.files.video import VideoInfo
    from bodvcl.text.tables import Listing


@dataclass
class ScanOptions:
    """Check every file of a data set in parallel, report faulty files, and index what training needs."""

    __pydantic_config__ = STRICT

    data: Annotated[Positional[str], argument(metavar="DATA")]
    """Folder, .csv list, or data set by name such as ucf101:FOLDER (docs/data_sets.md)."""
    workers: Annotated[int, Field(ge=0, le=1024)] | None = None
    """Processes. 0: this one only. None: one per core."""
    json: Flag = False
    """Print one JSON object instead of tables."""
    all: Flag = False
    """Name every missing and faulty file, not only ten."""


def scan_verb(arguments: Sequence[str]) -> int:
    """Parse the options and scan; returns the exit code."""
    options = parse(ScanOptions, arguments, prog="bodvcl data scan")
    with uninterrupted():
        from bodvcl.data.files.scan import scan

    found = scan(options.data, clip=None, workers=options.workers)
    if options.json:
        print(json.dumps(scan_report(found), indent=1))
    else:
        _print_scan(found, options.all)
    return 0


def scan_report(found: ScanResult) -> dict[str, Any]:
    """The result of a scan as JSON types."""
    from bodvcl.data.files.index import default_index
    from bodvcl.data.files.training_part import first_of_same

    videos = first_of_same(found.videos)
    splits = Counter(video.split for video in found.videos)
    return {
        "data": found.data.name,
        "root": found.data.root,
        "videos": len(videos),
        "frames": sum(video.frames for video in videos),
        "seconds": round(sum(video.duration for video in videos), 3),
        "splits": dict(splits),
        "classes": {column: list(names) for column, names in found.data.classes.items()},
        "flip_allowed": found.data.flip_allowed,
        "codecs": dict(Counter(video.codec for video in videos).most_common()),
        "sizes": {
            f"{width}x{height}": count
            for (width, height), count in Counter((v.width, v.height) for v in videos).most_common()
        },
        "rotated": sum(video.rotation != 0 for video in videos),
        "mirrored": sum(video.mirrored for video in videos),
        "variable_rate": sum(video.pts is not None for video in videos),
        "without_timestamps": sum(video.sequential for video in videos),
        "timestamp_jumps": [{"path": v.path, "frames": v.jumps} for v in videos if v.jumps],
        "frames_between_key_frames": max((_longest_gap(video) for video in videos), default=0),
        "trains_on": _training(found)[0],
        "repeats": [
            {**vars(repeat), "trains_and_tests": repeat.trains_and_tests} for repeat in found.repeats
        ],
        "unreadable_folders": found.data.unreadable,
        "missing": found.data.missing,
        "faults": [{"path": path, "reason": reason} for path, reason in found.skipped],
        "other_files": found.data.others,
        "notes": found.data.notes,
        "checked_now": found.checked,
        "index": str(default_index()),
    }


def _training(found: ScanResult) -> tuple[int, str]:
    """Number of videos that training takes, and a line that says which they are, or why there are none."""
    try:
        part = found.training_part()
    except DataError as error:
        return 0, str(error)
    return len(part.videos), f"bodvcl train {part.text}"


def _longest_gap(video: VideoInfo) -> int:
    gaps = [b - a for a, b in zip(video.keyframes, [*video.keyframes[1:], video.frames])]
    return int(max(gaps))


def fault_kind(reason: str) -> str:
    """A reason with its numbers replaced by N, so that faults of one kind are counted together."""
    return re.sub(r"\d+(\.\d+)?", "N", reason)


def _print_scan(found: ScanResult, everything: bool) -> None:
    from bodvcl.text.tables import show

    report = scan_report(found)
    for line in found.summary(shown=sys.maxsize if everything else 10):
        print(line)
    show(*_scan_tables(found, report))
    for name, text in (
        ("rotated", "stored rotated"),
        ("variable_rate", "with a variable frame rate"),
        ("without_timestamps", "without usable timestamps, decoded from the start"),
    ):
        if report[name]:
            print(f"{counted(report[name], 'video')} {text}")
    print(f"at most {counted(report['frames_between_key_frames'], 'frame')} from one key frame to the next")
    print(printable(_training(found)[1]))
    if not report["flip_allowed"]:
        print(f"class {found.data.flip_forbidden_by!r} says left or right: train with --augment.flip 0")
    known = len({row.path for row in found.data.rows}) - found.checked
    print(f"{counted(found.checked, 'file')} checked, {known:,} known already; index: {report['index']}")


def _scan_tables(found: ScanResult, report: dict[str, Any]) -> list[Listing | str]:
    """The usable videos of each split, and the files that cannot be used by reason."""
    from bodvcl.text.tables import Listing, Row

    rows = []
    for split in report["splits"]:
        videos = found.split(split)
        values = {"videos": f"{len(videos):,}", "hours": f"{sum(v.duration for v in videos) / 3600:.2f}"}
        for column in report["classes"]:
            values[_classes(column)] = f"{len({v.labels[column] for v in videos if v.labels.get(column)}):,}"
        rows.append(Row([split or "(none)"], values))
    columns = ("videos", "hours", *map(_classes, report["classes"]))
    kinds = Counter(fault_kind(reason) for _, reason in found.skipped)
    kinds["listed, but not there"] += len(found.data.missing)
    faults = [Row([kind], {"files": f"{count:,}"}) for kind, count in kinds.most_common() if count]
    tables: list[Listing | str] = [Listing("usable videos", ("split",), columns, rows)]
    return tables + ([Listing("files that cannot be used", ("why",), ("files",), faults)] if faults else [])


def _classes(column: str) -> str:
    return f"classes of\n{printable(column)}"
