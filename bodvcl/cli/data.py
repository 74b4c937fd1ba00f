"""``bodvcl data``: look at a data set, check it, and make a training copy of it."""

from __future__ import annotations

import argparse
import json
import re
import shlex
import sys
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bodvcl.cli.console import run_verb, uninterrupted
from bodvcl.errors import DataError
from bodvcl.text.words import counted, printable

if TYPE_CHECKING:
    from bodvcl.data.files.scan import ScanResult
    from bodvcl.data.files.transcode import CopyReport
    from bodvcl.text.tables import Listing

ACTIONS = {
    "scan": "check every file in parallel, say what is wrong with which, and index what training needs",
    "show": "contact sheet of clips as training sees them after augmentation",
    "transcode": "write a training copy: small H.264 files with short groups of pictures, no sound",
}
_DATA = "folder, .csv list, or data set by name such as ucf101:FOLDER (docs/data_sets.md)"


def main(argv: Sequence[str] | None = None) -> int:
    """Hand the options to the action; returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    name = f"data {arguments[0]}" if arguments and arguments[0] in ACTIONS else "data"
    return run_verb(name, lambda: _act(arguments))


def _act(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="bodvcl data",
        description="Look at a data set, check it, and make a training copy of it.",
        epilog="bodvcl data ACTION --help explains an action.",
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    for name, text in ACTIONS.items():
        actions.add_parser(name, help=text, add_help=False)
    action = parser.parse_args(arguments[:1]).action
    return {"scan": _scan, "show": _show, "transcode": _transcode}[action](arguments[1:])


def _show(argv: Sequence[str]) -> int:
    with uninterrupted():
        from bodvcl.cli.data_show import show

    return show(argv)


def _parser(action: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"bodvcl data {action}", description=f"{ACTIONS[action]}.")
    parser.add_argument("data", metavar="DATA", help=_DATA)
    parser.add_argument(
        "--workers",
        type=_whole(0, 1024),
        help="processes; 0: this one only (default: one per core)",
        metavar="N",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of tables")
    return parser


def _whole(low: int, high: int | None = None, even: bool = False) -> Any:
    """An argparse type: a whole number in a range."""

    def number(text: str) -> int:
        value = int(text)
        if value < low or (high is not None and value > high) or (even and value % 2):
            limit = f"from {low} to {high}" if high is not None else f"of {low} or more"
            raise argparse.ArgumentTypeError(
                f"expected {'an even' if even else 'a'} number {limit}, got {value}"
            )
        return value

    return number


def _scan(argv: Sequence[str]) -> int:
    parser = _parser("scan")
    parser.add_argument("--all", action="store_true", help="name every missing and faulty file, not ten")
    options = parser.parse_args(argv)
    with uninterrupted():
        from bodvcl.data.files.scan import scan

    found = scan(options.data, clip=None, workers=options.workers)
    if options.json:
        print(json.dumps(scan_report(found), indent=1))
    else:
        _print_scan(found, options.all)
    return 0


def scan_report(found: ScanResult) -> dict[str, Any]:
    """What a scan found, as plain values."""
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
    """Number of videos that training takes, and which these are or why there are none."""
    try:
        part = found.training_part()
    except DataError as error:
        return 0, str(error)
    return len(part.videos), f"bodvcl train {part.text}"


def _longest_gap(video: Any) -> int:
    gaps = [b - a for a, b in zip(video.keyframes, [*video.keyframes[1:], video.frames])]
    return int(max(gaps))


def fault_kind(reason: str) -> str:
    """A reason without its numbers, so that faults can be counted."""
    return re.sub(r"\d+(\.\d+)?", "N", reason)


def _print_scan(found: ScanResult, everything: bool) -> None:
    from bodvcl.text.tables import show

    report = scan_report(found)
    for line in found.summary(shown=sys.maxsize if everything else 10):
        print(line)
    show(*_scan_tables(found, report))
    for name, text in (
        ("rotated", "stored turned"),
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


def _transcode(argv: Sequence[str]) -> int:
    with uninterrupted():
        from bodvcl.data.files.transcode import CopySettings, transcode

    usual = CopySettings()
    parser = _parser("transcode")
    parser.add_argument("destination", metavar="FOLDER", help="folder of the copy; run again to go on")
    parser.add_argument(
        "--short-side", type=_whole(16, even=True), default=usual.short_side, metavar="PIXELS",
        help=f"shorter side; smaller videos keep their size (default: {usual.short_side})",
    )  # fmt: skip
    parser.add_argument(
        "--gop", type=_whole(1, 300), default=usual.gop, metavar="FRAMES",
        help=f"frames from one key frame to the next (default: {usual.gop})",
    )  # fmt: skip
    parser.add_argument(
        "--crf", type=_whole(0, 51), default=usual.crf, metavar="Q",
        help=f"quality, 0 (lossless) to 51 (default: {usual.crf})",
    )  # fmt: skip
    options = parser.parse_args(argv)
    settings = CopySettings(options.short_side, options.gop, options.crf)
    report = transcode(options.data, options.destination, settings, workers=options.workers)
    if options.json:
        print(json.dumps({**vars(report), "destination": str(report.destination)}, indent=1))
    else:
        _print_copy(report)
    return 0


def _print_copy(report: CopyReport) -> None:
    from bodvcl.data.files.transcode import FAILED

    kept = f", {report.kept:,} were there" if report.kept else ""
    share = f" ({report.after / report.before:.0%})" if report.before else ""
    print(
        f"{counted(report.written, 'video')} written{kept}: {report.before / 1e6:,.1f} MB before, "
        f"{report.after / 1e6:,.1f} MB after{share}"
    )
    if report.failed:
        print(f"{len(report.failed):,} could not be copied, all named in {report.destination / FAILED}:")
        for path, reason in report.failed[:10]:
            print(f"  {printable(path)}: {reason}")
    print(f"use it with --data {shlex.quote(str(report.source))}")


if __name__ == "__main__":
    sys.exit(main())
