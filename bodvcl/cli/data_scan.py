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
from bodvcl.config.schema import STRICT, ClipConfig
from bodvcl.errors import DataError
from bodvcl.text.words import counted, printable

if TYPE_CHECKING:
    from bodvcl.data.files.scan import ScanResult
    from bodvcl.text.tables import Listing


@dataclass
class ScanOptions:
    """Check every file of a data set in parallel, report faulty files, and index what training needs."""

    __pydantic_config__ = STRICT

    data: Annotated[Positional[str], argument(metavar="DATA")]
    """Folder, .csv list, tar files, or data set by name such as ucf101:FOLDER (docs/data_sets.md)."""
    workers: Annotated[int, Field(ge=0, le=1024)] | None = None
    """Processes. 0: this one only. None: one per core."""
    json: Flag = False
    """Print one JSON object instead of tables."""
    all: Flag = False
    """Name every missing and faulty file, not only ten."""
    image_fps: Annotated[float, Field(gt=0, le=1000), argument(metavar="FPS")] = ClipConfig.image_fps
    """Frame rate of videos that are folders of images, where a list has no column fps."""


def scan_verb(arguments: Sequence[str]) -> int:
    """Parse the options and scan; returns the exit code."""
    options = parse(ScanOptions, arguments, prog="bodvcl data scan")
    with uninterrupted():
        from bodvcl.data.files.scan import scan

    found = scan(options.data, clip=None, workers=options.workers, image_fps=options.image_fps)
    if options.json:
        print(json.dumps(scan_report(found), indent=1))
    else:
        _print_scan(found, options.all)
    return 0


def scan_report(found: ScanResult) -> dict[str, Any]:
    """The result of a scan as JSON types."""
    import numpy as np

    from bodvcl.data.files.columns import counts, numbers
    from bodvcl.data.files.index import default_index
    from bodvcl.data.files.training_part import first_of_same

    videos = first_of_same(found.videos)
    jumping = [videos[place] for place in np.flatnonzero(numbers(videos, "jumps")).tolist()]
    return {
        "data": found.data.name,
        "root": found.data.root,
        "videos": len(videos),
        "frames": int(numbers(videos, "frames").astype(np.int64).sum()),
        "seconds": round(float(numbers(videos, "duration").sum()), 3),
        "splits": counts(found.videos, "split"),
        "classes": {column: list(names) for column, names in found.data.classes.items()},
        "flip_allowed": found.data.flip_allowed,
        "codecs": dict(Counter(counts(videos, "codec")).most_common()),
        "sizes": {
            f"{width}x{height}": count
            for (width, height), count in Counter(counts(videos, "width", "height")).most_common()
        },
        "rotated": int((numbers(videos, "rotation") != 0).sum()),
        "mirrored": int(numbers(videos, "mirrored").sum()),
        "not_square_pixels": int((numbers(videos, "stored_width") != 0).sum()),
        "variable_rate": int(numbers(videos, "variable_rate").sum()),
        "without_timestamps": int(numbers(videos, "sequential").sum()),
        "timestamp_jumps": [{"path": v.path, "frames": v.jumps} for v in jumping],
        "frames_between_key_frames": int(numbers(videos, "longest_group").max(initial=0)),
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
        ("not_square_pixels", "with pixels that are not square, shown at their displayed width"),
        ("variable_rate", "with a variable frame rate"),
        ("without_timestamps", "without usable timestamps, decoded from the start"),
    ):
        if report[name]:
            print(f"{counted(report[name], 'video')} {text}")
    print(f"at most {counted(report['frames_between_key_frames'], 'frame')} from one key frame to the next")
    print(printable(_training(found)[1]))
    if not report["flip_allowed"]:
        print(f"class {found.data.flip_forbidden_by!r} says left or right: train with --augment.flip 0")
    data = found.data
    what = "tar file" if data.tars else "file"
    known = (len(data.tars) or len({row.path for row in data.rows})) - found.checked
    print(f"{counted(found.checked, what)} checked, {known:,} known already; index: {report['index']}")


def _scan_tables(found: ScanResult, report: dict[str, Any]) -> list[Listing | str]:
    """The usable videos of each split, and the files that cannot be used by reason."""
    from bodvcl.data.files.columns import label_names, numbers
    from bodvcl.text.tables import Listing, Row

    rows = []
    for split in report["splits"]:
        videos = found.split(split)
        hours = float(numbers(videos, "duration").sum()) / 3600
        values = {"videos": f"{len(videos):,}", "hours": f"{hours:.2f}"}
        for column in report["classes"]:
            values[_classes(column)] = f"{len(label_names(videos, column)):,}"
        rows.append(Row([split or "(none)"], values))
    columns = ("videos", "hours", *map(_classes, report["classes"]))
    kinds = Counter(fault_kind(reason) for _, reason in found.skipped)
    kinds["listed, but not there"] += len(found.data.missing)
    faults = [Row([kind], {"files": f"{count:,}"}) for kind, count in kinds.most_common() if count]
    tables: list[Listing | str] = [Listing("usable videos", ("split",), columns, rows)]
    return tables + ([Listing("files that cannot be used", ("why",), ("files",), faults)] if faults else [])


def _classes(column: str) -> str:
    return f"classes of\n{printable(column)}"
