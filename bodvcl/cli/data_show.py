"""``bodvcl data show``: clips as training sees them, beside the frames that they were cut from."""

from __future__ import annotations

import argparse
import base64
import html
import io
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from bodvcl.cli.console import run_verb
from bodvcl.config.limits import MOST
from bodvcl.config.schema import TrainConfig
from bodvcl.data.clips.boxes import box_in_pixels
from bodvcl.data.clips.colour import colour_matrix
from bodvcl.data.clips.draws import ClipDraws, draw_clips
from bodvcl.data.files.video import BadVideo, VideoInfo, read_frames
from bodvcl.errors import ConfigError, DataError
from bodvcl.system.folders import expand
from bodvcl.text.words import counted, printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from bodvcl.viz.clip_sheet import SheetVideo, SheetView

MOST_FRAMES = 8
"""Frames of a clip shown at most, evenly spread."""
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
    from bodvcl.config.parse import parse_config
    from bodvcl.data.clips.order import epoch_order
    from bodvcl.data.files.scan import scan
    from bodvcl.data.sets import BuiltInSettings

    if options.out.suffix not in _FORMATS:
        raise ConfigError(f"--out {options.out}: expected a name that ends in {' or '.join(_FORMATS)}")
    if options.videos < 1 or not 0 <= options.epoch <= MOST[int]:
        raise ConfigError(f"--videos must be 1 or more, --epoch from 0 to {MOST[int]}")
    config = parse_config([*training, "--data", options.data], prog="bodvcl data show")
    settings = BuiltInSettings(config.shapes, config.digits)
    found = scan(config.data, clip=config.clip, settings=settings, workers=config.workers)
    found.refuse_flip(config.augment.flip)
    videos = found.training()
    seen: list[Seen] = []
    for index in epoch_order(config.seed, options.epoch, len(videos)).tolist():
        if len(seen) == options.videos:
            break
        try:
            seen.append(see(videos[index], index, config, options.epoch))
        except BadVideo as error:
            print(f"bodvcl data show: left out: {error}", file=sys.stderr)
    if not seen:
        raise DataError(f"{config.data}: none of its {counted(len(videos), 'video')} can be decoded")
    title = f"First clips of epoch {options.epoch}, seed {config.seed}"
    sheets = [described(one) for one in seen]
    content = html_page(title, sheets) if options.out.suffix == ".html" else png(title, sheets)
    try:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_bytes(content)
    except OSError as error:
        raise ConfigError(f"cannot write {options.out}: {error.strerror or error}") from error
    print(f"{counted(len(seen), 'video')}, {counted(len(seen) * config.clip.views, 'clip')}: {options.out}")
    return 0


class Seen(NamedTuple):
    """A video as training sees it.

    video, draws: the video and what was drawn for it.
    before: uint8 (views, L, h, w, 3), the frames whole, scaled down.
    after: uint8 (views, L, S, S, 3), what the network gets, with the normalisation undone.
    """

    video: VideoInfo
    draws: ClipDraws
    before: np.ndarray
    after: np.ndarray


def see(video: VideoInfo, index: int, config: TrainConfig, epoch: int, height: int = 224) -> Seen:
    """Decode and augment the clips of one video, the way training does.

    Args:
        video, index: the video and its number among those to train on.
        config: clips, augmentation and seed.
        epoch: which one.
        height: of the whole frames, at most.

    Raises:
        BadVideo: a frame cannot be decoded.
    """
    from bodvcl.data.clips.augment import finish
    from bodvcl.data.clips.plan import collect
    from bodvcl.data.sources.pyav_clips import load_clips

    clip, augment = config.clip, config.augment
    draws = draw_clips(video, clip, augment, seed=config.seed, epoch=epoch, index=index)
    cut = torch.empty((*draws.frames.shape, clip.size, clip.size, 3), dtype=torch.uint8)
    load_clips(video, draws, clip, augment.crop_area[0], cut)
    out = finish(collect(cut, [index], [draws]), augment).permute(0, 2, 3, 4, 1) * augment.std + augment.mean
    scale = min(1.0, height / video.height)
    size = max(round(video.height * scale), 1), max(round(video.width * scale), 1)
    whole = read_frames(video, draws.frames.reshape(-1), size)
    return Seen(
        video=video,
        draws=draws,
        before=whole.reshape(*draws.frames.shape, *whole.shape[1:]),
        after=(out * 255).round().clamp(0, 255).to(torch.uint8).numpy(),
    )


class ColourFactors(NamedTuple):
    """What :func:`bodvcl.data.clips.colour.colour_matrix` was made from; hue is a share of a full circle."""

    brightness: float
    contrast: float
    saturation: float
    hue: float
    gray: bool


def colour_factors(matrix: np.ndarray) -> ColourFactors:
    """The factors of a colour matrix (3, 4). Of a gray one, saturation is 0 and hue is 0: they left no trace.

    The offset is (1 - contrast) / 2 in every channel, and a row sums to contrast x brightness. What is left
    is grayscale + saturation (cos(hue) still + sin(hue) quarter), with the matrices of no and of a quarter
    turn less that of grayscale.
    """
    matrix = np.asarray(matrix, np.float64)
    contrast = float(1 - 2 * matrix[:, 3].mean())
    gain = float(matrix[:, :3].sum(axis=1).mean())
    brightness = gain / contrast if contrast else 1.0
    if np.ptp(matrix[:, :3], axis=0).max() < 1e-5 * max(abs(gain), 1e-3):
        return ColourFactors(brightness, contrast, 0.0, 0.0, True)
    gray, still, quarter = (
        colour_matrix(1, 1, 1, turn, without_colour)[:, :3].ravel()
        for turn, without_colour in ((0, True), (0, False), (0.25, False))
    )
    basis = np.stack([still - gray, quarter - gray], axis=1)
    cos, sin = np.linalg.lstsq(basis, matrix[:, :3].ravel() / gain - gray, rcond=None)[0]
    hue = math.atan2(sin, cos) / (2 * math.pi)
    return ColourFactors(brightness, contrast, math.hypot(cos, sin), hue, False)


def drawn_lines(video: VideoInfo, draws: ClipDraws, view: int) -> list[str]:
    """What was drawn for one clip, a fact per line."""
    top, left, height, width = box_in_pixels(draws.boxes[view], video.height, video.width)
    share = height * width / (video.height * video.width)
    colour = colour_factors(draws.colour[view])
    lines = [
        f"crop {width} x {height} at x {left}, y {top}",
        f"{share:.0%} of the frame, aspect {width / height:.2f}",
        f"mirrored: {'yes' if draws.flip[view] else 'no'}",
    ]
    if np.allclose(draws.colour[view], np.eye(3, 4), atol=1e-6):
        lines.append("colours: unchanged")
    else:
        lines.append(f"brightness x {colour.brightness:.2f}, contrast x {colour.contrast:.2f}")
        lines.append(
            "grayscale"
            if colour.gray
            else f"saturation x {colour.saturation:.2f}, hue {360 * colour.hue:+.0f}\N{DEGREE SIGN}"
        )
    sigma = float(draws.sigma[view])
    lines.append(f"blur: sigma {sigma:.2f} pixels" if sigma > 0 else "blur: none")
    return lines


def described(seen: Seen) -> SheetVideo:
    """Pictures and text of a video for the sheet."""
    from bodvcl.viz.clip_sheet import SheetVideo, SheetView

    video, draws = seen.video, seen.draws
    shown = np.unique(np.linspace(0, draws.frames.shape[1] - 1, MOST_FRAMES).round().astype(int))

    def view(number: int) -> SheetView:
        return SheetView(
            name=f"clip {number + 1}",
            lines=drawn_lines(video, draws, number),
            labels=[f"frame {frame}" for frame in draws.frames[number, shown].tolist()],
            before=seen.before[number, shown],
            box=tuple(draws.boxes[number].tolist()),
            after=seen.after[number, shown],
        )

    rate = f", {video.fps:.4g} frames per second" if video.fps else ""
    facts = f"{video.width} x {video.height}, {counted(video.frames, 'frame')}{rate}, {video.codec}"
    return SheetVideo(printable(video.path), facts, [view(k) for k in range(len(draws.frames))])


def png(title: str, videos: Sequence[SheetVideo]) -> bytes:
    """The sheet as one picture."""
    from bodvcl.viz.clip_sheet import draw_sheet

    return _png(draw_sheet(title, videos))


def _png(figure: Figure) -> bytes:
    from bodvcl.viz.clip_sheet import DPI

    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=DPI)
    return out.getvalue()


def html_page(title: str, videos: Sequence[SheetVideo]) -> bytes:
    """The sheet as a page that needs no other file: a picture per video, described for those who listen."""
    from bodvcl.viz.clip_sheet import LEGEND, draw_sheet

    parts = [f"<h1>{html.escape(title)}</h1>", f"<p>{html.escape(LEGEND)}</p>"]
    for video in videos:
        picture = base64.b64encode(_png(draw_sheet("", [video]))).decode()
        text = "; ".join(f"{view.name}: {', '.join(view.lines)}" for view in video.views)
        alt = html.escape(f"{video.name}, {video.facts}. {text}", quote=True)
        parts.append(f'<p><img src="data:image/png;base64,{picture}" alt="{alt}"></p>')
    style = "body { margin: 24px; background: #fefdfc; color: #30343b; font-family: sans-serif; }"
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f"<title>{html.escape(title)}</title>\n<style>{style} img {{ max-width: 100%; }}</style>\n</head>\n"
        "<body>\n" + "\n".join(parts) + "\n</body>\n</html>\n"
    ).encode()
