"""``bodvcl data show``: draw clips as training sees them, beside the frames that they were cut from."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field

from bodvcl.cli.fit import fitted
from bodvcl.cli.run_videos import scan_run
from bodvcl.config.command_line import Positional, argument, parse_known
from bodvcl.config.parse import parse_config
from bodvcl.config.schema import STRICT, UserPath
from bodvcl.data.clips.order import epoch_order
from bodvcl.data.files.video import BadVideo
from bodvcl.data.show import SeenVideo, see_video
from bodvcl.engine.device import pick_device
from bodvcl.engine.ranks import World
from bodvcl.errors import ConfigError, DataError
from bodvcl.text.words import counted
from bodvcl.viz.clip_page import sheet_html, sheet_png, sheet_video

_FORMATS = (".png", ".html")


@dataclass
class ShowOptions:
    """Draw a contact sheet of the first clips that training would see: the whole frames with the crop, below
    them what the network gets, and beside them what was drawn.

    Options of bodvcl train that decide what is seen can follow: --config, --clip.*, --augment.*, --seed."""

    __pydantic_config__ = STRICT

    data: Annotated[Positional[str], argument(metavar="DATA")]
    """Same as bodvcl train --data: scenes, a folder, a .csv list, tar files, or a data set by name."""
    out: Annotated[UserPath, argument(metavar="FILE")] = Path("clips.png")
    """Picture (.png) or page (.html) to write."""
    videos: Annotated[int, Field(ge=1)] = 3
    """Number of videos to show."""
    epoch: Annotated[int, Field(ge=0)] = 0
    """Epoch whose clips are shown, from 0."""


def show_verb(arguments: Sequence[str]) -> int:
    """Parse the options and draw the sheet; returns the exit code."""
    if arguments and arguments[0].startswith("-") and not {"-h", "--help"} & set(arguments):
        raise ConfigError("DATA comes first: bodvcl data show DATA [OPTIONS]")
    options, training = parse_known(ShowOptions, arguments, prog="bodvcl data show")
    if options.out.suffix not in _FORMATS:
        raise ConfigError(f"--out {options.out}: expected a name that ends in {' or '.join(_FORMATS)}")
    config = parse_config([*training, "--data", options.data], prog="bodvcl data show")
    found = scan_run(config)
    config, _ = fitted(config, found, pick_device(config.device), World())
    videos = found.holding(config.clip).training()
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
