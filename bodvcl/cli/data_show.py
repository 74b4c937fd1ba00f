"""``bodvcl data show``: clips as training sees them, beside the frames that they were cut from."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from bodvcl.cli.console import run_verb
from bodvcl.config.limits import MOST
from bodvcl.config.parse import parse_config
from bodvcl.data.clips.order import epoch_order
from bodvcl.data.files.scan import scan
from bodvcl.data.files.video import BadVideo
from bodvcl.data.sets import BuiltInSettings
from bodvcl.data.show import SeenVideo, see_video
from bodvcl.errors import ConfigError, DataError
from bodvcl.system.folders import expand
from bodvcl.text.words import counted
from bodvcl.viz.clip_page import sheet_html, sheet_png, sheet_video

_FORMATS = (".png", ".html")


def main(argv: Sequence[str] | None = None) -> int:
    """Draw the sheet; returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    return run_verb("data show", lambda: show(arguments))


def show(arguments: Sequence[str]) -> int:
    """Parse the options and draw the sheet; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="bodvcl data show",
        description="Contact sheet of the first clips that training would see: whole frames with the crop, "
        "below them what the network gets, and what was drawn.",
        epilog="Every option of bodvcl train that decides what is seen may follow: --config, --clip.*, "
        "--augment.*, --seed.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "data", metavar="DATA", help="what bodvcl train --data takes: shapes, a folder, a list, a data set"
    )
    parser.add_argument(
        "--out",
        type=expand,
        default=Path("clips.png"),
        metavar="FILE",
        help=".png or .html (default: clips.png)",
    )
    parser.add_argument("--videos", type=int, default=3, metavar="N", help="videos shown (default: 3)")
    parser.add_argument("--epoch", type=int, default=0, metavar="N", help="epoch, from 0 (default: 0)")
    if arguments and arguments[0].startswith("-") and not {"-h", "--help"} & set(arguments):
        parser.error("DATA comes first: bodvcl data show DATA [OPTIONS]")
    options, training = parser.parse_known_args(arguments)
    return _show(options, training)


def _show(options: argparse.Namespace, training: Sequence[str]) -> int:
    if options.out.suffix not in _FORMATS:
        raise ConfigError(f"--out {options.out}: expected a name that ends in {' or '.join(_FORMATS)}")
    if options.videos < 1 or not 0 <= options.epoch <= MOST[int]:
        raise ConfigError(f"--videos must be 1 or more, --epoch from 0 to {MOST[int]}")
    config = parse_config([*training, "--data", options.data], prog="bodvcl data show")
    settings = BuiltInSettings(config.shapes, config.digits)
    found = scan(config.data, clip=config.clip, settings=settings, workers=config.workers)
    found.refuse_flip(config.augment.flip)
    videos = found.training()
    seen: list[SeenVideo] = []
    for index in epoch_order(config.seed, options.epoch, len(videos)).tolist():
        if len(seen) == options.videos:
            break
        try:
            seen.append(
                see_video(
                    videos[index],
                    index,
                    config.clip,
                    config.augment,
                    seed=config.seed,
                    epoch=options.epoch,
                )
            )
        except BadVideo as error:
            print(f"bodvcl data show: left out: {error}", file=sys.stderr)
    if not seen:
        raise DataError(f"{config.data}: none of its {counted(len(videos), 'video')} can be decoded")
    title = f"First clips of epoch {options.epoch}, seed {config.seed}"
    sheets = [sheet_video(one) for one in seen]
    content = sheet_html(title, sheets) if options.out.suffix == ".html" else sheet_png(title, sheets)
    try:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_bytes(content)
    except OSError as error:
        raise ConfigError(f"cannot write {options.out}: {error.strerror or error}") from error
    print(f"{counted(len(seen), 'video')}, {counted(len(seen) * config.clip.views, 'clip')}: {options.out}")
    return 0
