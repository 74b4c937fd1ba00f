"""The figure ``cam``: where each encoder looks (Fig. 8), and how much of that moves."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bodvcl.config.schema import ClipConfig
from bodvcl.data.clips.augment import finish
from bodvcl.data.files.video import VideoInfo
from bodvcl.evaluate.columns import LabelChoice
from bodvcl.evaluate.features import video_clips
from bodvcl.evaluate.intervals import bootstrap_interval
from bodvcl.evaluate.reading import read_clips
from bodvcl.figures.cam_class import class_probe
from bodvcl.figures.cam_clips import CamVideo, pictures, read_pair
from bodvcl.figures.cam_question import Answer, ClassProbe, answer, map_sizes, useful_depth
from bodvcl.figures.cam_sheet import SheetClip, SheetRow, cam_sheet, side_by_side
from bodvcl.figures.folder import FigureFolder, file_name
from bodvcl.figures.motion import motion_share, moving_pixels
from bodvcl.figures.opened import OpenedRun
from bodvcl.figures.options import FigureOptions
from bodvcl.figures.overlay import overlay, relative
from bodvcl.text.words import counted, printable
from bodvcl.viz.html import Markup, escape, grid
from bodvcl.viz.sheet import png

MOST_FPS = 4
"""Most frames per second of the moving pictures; at the video's own rate a clip is over in a second."""
_SIDE = 224
"""Pixels of a frame in the moving pictures, unless the video is smaller."""
ZERO = "the map is zero: no place raises the score"


class _Looking(NamedTuple):
    """How one run is asked."""

    run: OpenedRun
    depth: int
    cells: tuple[int, int]
    classes: ClassProbe | None


def looking(
    options: FigureOptions,
    runs: Sequence[OpenedRun],
    first: CamVideo,
    labelled: tuple[Sequence[VideoInfo], LabelChoice] | None,
    device: torch.device,
    say: Callable[[str], None],
) -> list[_Looking]:
    """Depth of every run, and the probes that ``--cam-of class`` needs.

    Args:
        options: what is asked.
        runs: the runs; their encoders are moved to the device.
        first: a clip, for the sizes of the feature maps.
        labelled: labelled videos and their columns, for the classes.
        device: where the encoders run.
        say: takes lines for the user.
    """
    made = []
    for run in runs:
        run.encoder.to(device)
        clip = finish(read_pair(first, run.config.clip), run.config.augment, device)[:1]
        depth, cells = useful_depth(run, clip)
        if options.cam_depth is not None:
            depth, cells = options.cam_depth, map_sizes(run, clip)[options.cam_depth - 1]
        classes = None if labelled is None else class_probe(run, *labelled, options, device, say)
        made.append(_Looking(run, depth, cells, classes))
    return made


def draw_clips(
    options: FigureOptions,
    lookings: Sequence[_Looking],
    videos: Sequence[CamVideo],
    folder: FigureFolder,
    device: torch.device,
) -> list[Markup]:
    """Sheets, moving pictures and numbers of single clips: ``cam-K.png``, ``cam-K.mp4``, ``cam.csv``.

    Returns:
        The pictures for the page.
    """
    parts: list[Markup] = []
    rows: list[dict[str, Any]] = []
    for number, video in enumerate(videos, start=1):
        clip, found = _sheet_clip(options, lookings, video, device)
        rows += found
        name = f"cam-{number}-{file_name(Path(video.info.path).stem)}"
        sheet = png(cam_sheet([clip]))
        folder.save(f"{name}.png", sheet)
        moving = folder.save_video(name, side_by_side(clip), _rate(video.info, lookings[0].run.config.clip))
        parts.append(_pictures(clip, sheet, moving))
    folder.save_table("cam", rows)
    return parts


def measure_motion(
    options: FigureOptions,
    lookings: Sequence[_Looking],
    videos: Sequence[VideoInfo],
    folder: FigureFolder,
    device: torch.device,
) -> Markup:
    """The share of the maps on moving pixels over many clips: ``cam-motion.csv``, a table for the page."""
    lines, rows = [], []
    for look in lookings:
        shares, areas = [], []
        for clips, others, moving in _pairs(look.run, videos, options.workers, device):
            found = answer(look.run, options.explained, look.depth, clips, others, look.classes)
            share, area = motion_share(found.attention.maps, moving)
            usable = torch.isfinite(share) & (area > 0)
            shares.append(share[usable])
            areas.append(area[usable])
        row = {"run": look.run.name, "of": options.explained, "depth": look.depth, "videos": len(videos)}
        row |= _summary(torch.cat(shares).numpy(), torch.cat(areas).numpy(), options.seed)
        rows.append(row)
        lines.append(
            f"<tr><td>{escape(look.run.name)}</td>"
            + "".join(f'<td class="n">{text}</td>' for text in _motion_cells(row))
            + "</tr>"
        )
    folder.save_table("cam-motion", rows)
    heads = ("on moving pixels", "95% interval", "their area", "more than the area", "clips")
    head = "<th>run</th>" + "".join(f'<th class="n">{name}</th>' for name in heads)
    return Markup(
        f'<div class="card"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def _summary(share: NDArray[np.float64], area: NDArray[np.float64], seed: int) -> dict[str, float | int]:
    """Means over clips with their 95% intervals; NaN where there is no clip."""
    keys = ("share", "low", "high", "area", "more", "more_low", "more_high")
    if not len(share):
        return {"clips": 0} | dict.fromkeys(keys, np.nan)
    more = share - area
    of_share = bootstrap_interval(share, (0.0, 1.0), seed)
    of_more = bootstrap_interval(more, (-1.0, 1.0), seed)
    values = (share.mean(), *of_share, area.mean(), more.mean(), *of_more)
    return {"clips": len(share)} | {key: float(value) for key, value in zip(keys, values)}


def _motion_cells(row: dict[str, Any]) -> list[str]:
    if not row["clips"]:
        return ["–"] * 4 + ["0"]
    margin = (row["more_high"] - row["more_low"]) / 2
    return [
        f"{100 * row['share']:.1f}%",
        f"{100 * row['low']:.1f} to {100 * row['high']:.1f}%",
        f"{100 * row['area']:.1f}%",
        f"{100 * row['more']:+.1f} ± {100 * margin:.1f}",
        f"{row['clips']}",
    ]


def _pairs(
    run: OpenedRun, videos: Sequence[VideoInfo], workers: int | None, device: torch.device
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Two clips of each video, and which pixels of the first one move."""
    for batch in read_clips(videos, run.config.clip, clips_per_video=2, workers=workers):
        clips = video_clips(batch, run.config.augment, device)
        yield clips[:, 0], clips[:, 1], moving_pixels(batch.clips[::2])


def _sheet_clip(
    options: FigureOptions, lookings: Sequence[_Looking], video: CamVideo, device: torch.device
) -> tuple[SheetClip, list[dict[str, Any]]]:
    info, config = video.info, lookings[0].run.config.clip
    sizes = [look.run.config.clip.size for look in lookings]
    frames = pictures(video, config, max(*sizes, min(_SIDE, info.width, info.height)))
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
    return SheetClip(printable(info.path), ", ".join(facts), numbers, frames, made), rows


def _lines(look: _Looking, found: Answer, share: float, area: float) -> list[str]:
    lines = [
        found.asked[0],
        f"S = {float(found.attention.scores[0]):.3g}",
        f"map {look.depth} of 4, {look.cells[0]} x {look.cells[1]}",
    ]
    if np.isnan(share):
        return [*lines, ZERO]
    if area:
        lines.append(f"{share:.0%} on moving pixels ({area:.0%} of the area)")
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
