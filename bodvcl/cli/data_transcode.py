"""``bodvcl data transcode``: write a training copy of a data set."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from bodvcl.cli.console import uninterrupted
from bodvcl.config.command_line import Flag, Positional, argument, parse
from bodvcl.config.schema import STRICT, ClipConfig, UserPath
from bodvcl.text.words import counted, printable

if TYPE_CHECKING:
    from bodvcl.data.files.transcode import CopyReport


@dataclass
class TranscodeOptions:
    """Write a training copy of a data set: small H.264 files with short groups of pictures, without sound."""

    __pydantic_config__ = STRICT

    data: Annotated[Positional[str], argument(metavar="DATA")]
    """Folder, .csv list, or data set by name such as ucf101:FOLDER (docs/data_sets.md)."""
    destination: Annotated[Positional[UserPath], argument(metavar="FOLDER")]
    """Folder of the copy. An interrupted copy goes on when the command is given again."""
    workers: Annotated[int, Field(ge=0, le=1024)] | None = None
    """Processes. 0: this one only. None: one per core."""
    json: Flag = False
    """Print one JSON object instead of text."""
    short_side: Annotated[int, Field(ge=16, multiple_of=2), argument(metavar="PIXELS")] = 256
    """Length of the shorter side. Smaller videos keep their size."""
    gop: Annotated[int, Field(ge=1, le=300), argument(metavar="FRAMES")] = 12
    """Frames from one key frame to the next."""
    crf: Annotated[int, Field(ge=0, le=51), argument(metavar="Q")] = 20
    """Quality, from 0 (lossless) to 51."""
    image_fps: Annotated[float, Field(gt=0, le=1000), argument(metavar="FPS")] = ClipConfig.image_fps
    """Frame rate of videos that are folders of images, where a list has no column fps."""


def transcode_verb(arguments: Sequence[str]) -> int:
    """Parse the options and write the copy; returns the exit code."""
    options = parse(TranscodeOptions, arguments, prog="bodvcl data transcode")
    with uninterrupted():
        from bodvcl.data.files.copies import CopySettings
        from bodvcl.data.files.transcode import transcode

    settings = CopySettings(options.short_side, options.gop, options.crf)
    report = transcode(
        options.data, options.destination, settings, workers=options.workers, image_fps=options.image_fps
    )
    if options.json:
        print(json.dumps({**vars(report), "destination": str(report.destination)}, indent=1))
    else:
        print_copy(report)
    return 0


def print_copy(report: CopyReport) -> None:
    """Say what was written, what failed, and how to use the copy."""
    from bodvcl.data.files.copy_folder import FAILED

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
