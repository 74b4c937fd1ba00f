"""The figure ``cam``: where each encoder looks, on the frames of single clips (Fig. 8)."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bodvcl.config.schema import ClipConfig
from bodvcl.data.clips.augment import finish
from bodvcl.data.files.video import VideoInfo
from bodvcl.errors import DataError
from bodvcl.figures.cam_clips import CamVideo, pictures, read_pair
from bodvcl.figures.cam_question import Answer, answer
from bodvcl.figures.cam_scores import COMPARING
from bodvcl.figures.cam_sheet import SheetClip, SheetRow, cam_sheet, side_by_side
from bodvcl.figures.folder import FigureFolder, file_name
from bodvcl.figures.looking import Looking
from bodvcl.figures.motion import motion_share, moving_pixels
from bodvcl.figures.options import CamOf, FigureOptions
from bodvcl.figures.overlay import overlay, relative
from bodvcl.text.words import counted, printable
from bodvcl.viz.html import Markup, escape, grid
from bodvcl.viz.sheet import png

MOST_FPS = 4
"""Most frames per second of the moving pictures; at the video's own rate a clip is over in a second."""
_SIDE = 224
"""Fewest rows and columns of a frame in the moving pictures, in pixels."""
ZERO = "the map is zero: no place raises the score"


def draw_clips(
    options: FigureOptions,
    lookings: Sequence[Looking],
    videos: Sequence[CamVideo],
    folder: FigureFolder,
    device: torch.device,
) -> list[Markup]:
    """Sheets, moving pictures and numbers of single clips: ``cam-K.png``, ``cam-K.mp4``, ``cam.csv``.

    Returns:
        The pictures for the page.
    """
    refuse_single_clips(options.explained, videos, lookings[0].run.config.clip)
    parts: list[Markup] = []
    rows: list[dict[str, Any]] = []
    for number, video in enumerate(videos, start=1):
        clip, found = _sheet_clip(options, lookings, video, device)
        rows += found
        name = f"cam-{number}-{file_name(Path(video.info.path).stem)}"
        sheet = png(cam_sheet(clip))
        folder.save(f"{name}.png", sheet)
        moving = folder.save_video(name, side_by_side(clip), _rate(video.info, lookings[0].run.config.clip))
        parts.append(_pictures(clip, sheet, moving))
    folder.save_table("cam", rows)
    return parts


def refuse_single_clips(of: CamOf, videos: Sequence[CamVideo], clip: ClipConfig) -> None:
    """Raise :class:`~bodvcl.errors.DataError` for a video without a second clip, where two are compared."""
    for video in videos:
        this, other = video.draws(clip).frames
        if of in COMPARING and (this == other).all():
            raise DataError(
                f"{video.info.path} holds only one clip, and --cam-of {of} compares two; choose class or "
                "dynamic, or shorter clips with --clip.frames and --clip.stride"
            )


def _sheet_clip(
    options: FigureOptions, lookings: Sequence[Looking], video: CamVideo, device: torch.device
) -> tuple[SheetClip, list[dict[str, Any]]]:
    info, config = video.info, lookings[0].run.config.clip
    sizes = [look.run.config.clip.size for look in lookings]
    frames = pictures(video, config, max(*sizes, _SIDE))
    numbers = video.draws(config).frames[0]
    made, rows = [], []
    for look in lookings:
        pair = read_pair(video, look.run.config.clip)
        clips = finish(pair, look.run.config.augment, device)
        found = answer(look.run, options.explained, look.depth, clips[:1], clips[1:], look.classes)
        maps, moving = found.attention.maps[0], moving_pixels(pair.clips[:1])
        share, area = (float(x) for x in motion_share(maps[None], moving))
        made.append(
            SheetRow(look.run.name, _lines(look, found, share, area), overlay(frames, relative(maps)))
        )
        whole = float(maps.double().sum())
        rows += [
            {
                "run": look.run.name,
                "video": info.path,
                "frame": int(frame),
                "of": options.explained,
                "depth": look.depth,
                "score": float(found.attention.scores[0]),
                "map_in_frame": float(maps[k].double().sum()) / whole if whole else 0.0,
                "clip_on_motion": share,
                "clip_motion_area": area,
            }
            for k, frame in enumerate(numbers)
        ]
    facts = [
        f"frames {numbers[0]} to {numbers[-1]}",
        *([f"{info.fps:.4g} frames per second"] if info.fps else []),
        *(f"{name} {value}" for name, value in info.labels.items()),
    ]
    name = printable("/".join(Path(info.path).parts[-2:]))
    return SheetClip(name, ", ".join(facts), numbers, frames, made), rows


def _lines(look: Looking, found: Answer, share: float, area: float) -> list[str]:
    lines = [
        found.asked[0],
        f"S = {float(found.attention.scores[0]):.3g}",
        f"map {look.depth} of 4, {look.cells[0]} x {look.cells[1]}",
    ]
    if np.isnan(share):
        return [*lines, ZERO]
    if area:
        lines.append(f"{share:.0%} on what moves ({area:.0%} of the area)")
    return lines


def _rate(info: VideoInfo, clip: ClipConfig) -> int:
    real = (clip.fps or info.fps or MOST_FPS * clip.stride) / clip.stride
    return max(1, min(MOST_FPS, round(real)))


def _pictures(clip: SheetClip, sheet: bytes, moving: bytes) -> Markup:
    names = ", ".join(row.name for row in clip.rows)
    alt = escape(f"{clip.name}, {clip.facts}. First row: the clip. Below it the maps of {names}.")
    still = f'<img style="width:100%" src="data:image/png;base64,{_base64(sheet)}" alt="{alt}">'
    video = (
        '<video style="max-width:100%" controls loop muted playsinline '
        f'src="data:video/mp4;base64,{_base64(moving)}"></video>'
    )
    caption = f"The same as a moving picture, {counted(len(clip.numbers), 'frame')}."
    panel = Markup(f"<figure>{video}<figcaption>{caption}</figcaption></figure>")
    return Markup(f"<figure>{still}</figure>{grid([panel])}")


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")
