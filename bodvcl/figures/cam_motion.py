"""How much of what each encoder looks at moves, over many clips (the claim of Fig. 8 as a number)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bodvcl.data.files.video import VideoInfo
from bodvcl.errors import DataError
from bodvcl.evaluate.features import video_clips
from bodvcl.evaluate.intervals import bootstrap_interval
from bodvcl.evaluate.reading import read_clips
from bodvcl.figures.cam_question import answer
from bodvcl.figures.cam_scores import COMPARING
from bodvcl.figures.folder import FigureFolder
from bodvcl.figures.looking import Looking
from bodvcl.figures.motion import motion_share, moving_pixels
from bodvcl.figures.opened import OpenedRun
from bodvcl.figures.options import FigureOptions
from bodvcl.viz.html import Markup, escape


def measure_motion(
    options: FigureOptions,
    lookings: Sequence[Looking],
    videos: Sequence[VideoInfo],
    folder: FigureFolder,
    device: torch.device,
) -> Markup:
    """The share of the maps on moving pixels over many clips: ``cam-motion.csv``, a table for the page."""
    lines, rows = [], []
    for look in lookings:
        shares, areas = [], []
        for clips, others, moving, differ in _pairs(look.run, videos, options.workers, device):
            found = answer(look.run, options.explained, look.depth, clips, others, look.classes)
            share, area = motion_share(found.attention.maps, moving)
            usable = torch.isfinite(share) & (area > 0)
            if options.explained in COMPARING:
                usable &= differ
            shares.append(share[usable])
            areas.append(area[usable])
        if not shares:
            raise DataError(f"none of {len(videos)} videos could be read")
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
        return ["–"] * 4 + [f"0 of {row['videos']}"]
    margin = (row["more_high"] - row["more_low"]) / 2
    return [
        f"{100 * row['share']:.1f}%",
        f"{100 * row['low']:.1f} to {100 * row['high']:.1f}%",
        f"{100 * row['area']:.1f}%",
        f"{100 * row['more']:+.1f} ± {100 * margin:.1f}",
        f"{row['clips']} of {row['videos']}",
    ]


def _pairs(
    run: OpenedRun, videos: Sequence[VideoInfo], workers: int | None, device: torch.device
) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Two clips of each video, which pixels of the first one move, and whether their frames differ."""
    for batch in read_clips(videos, run.config.clip, clips_per_video=2, workers=workers):
        clips = video_clips(batch, run.config.augment, device)
        differ = (batch.frames[::2] != batch.frames[1::2]).any(1)
        yield clips[:, 0], clips[:, 1], moving_pixels(batch.clips[::2]), differ
