"""Contact sheet of clips before and after augmentation, drawn to the pixel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from torchvision.transforms.v2 import functional as vision

from bodvcl.viz.svg import DYNAMIC, INK, MUTED, PAPER

DPI = 100
CELL = 112
"""Height of a frame on the sheet in pixels."""
LEGEND = "Upper row: whole frames with the crop. Lower row: what the network gets."
_MARGIN, _GAP, _ROW_GAP = 24, 6, 8
_TEXT_WIDTH = 250
_LINE, _HEADING, _TITLE, _LABEL = 19, 50, 62, 18
_VIEW_GAP, _VIDEO_GAP = 22, 34
_LONGEST_NAME = 110


class SheetView(NamedTuple):
    """One clip.

    Attributes:
        name: its heading.
        lines: what was drawn for it, one fact per line.
        labels: one label per frame.
        before: uint8 (frames, h, w, 3), whole frames.
        box: top, left, height, width of the crop as shares of the frame.
        after: uint8 (frames, S, S, 3), what the network gets.
    """

    name: str
    lines: Sequence[str]
    labels: Sequence[str]
    before: NDArray[np.uint8]
    box: tuple[float, float, float, float]
    after: NDArray[np.uint8]


class SheetVideo(NamedTuple):
    """One video: its name, a line of facts, its clips."""

    name: str
    facts: str
    views: Sequence[SheetView]


def draw_sheet(title: str, videos: Sequence[SheetVideo]) -> Figure:
    """Draw the clips of every video, below each other, each before and after augmentation.

    Save it with ``dpi=DPI``: then one pixel of the figure is one pixel of the file.

    Args:
        title: heading of the sheet; "" for none.
        videos: videos to show; all clips have the same number of frames.
    """
    views = [view for video in videos for view in video.views]
    columns = max(len(view.labels) for view in views)
    width_of_cell = max(CELL, *(round(CELL * v.before.shape[2] / v.before.shape[1]) for v in views))
    width = 2 * _MARGIN + _TEXT_WIDTH + columns * (width_of_cell + _GAP) - _GAP
    top = _MARGIN + (_TITLE if title else 0)
    height = top - _VIDEO_GAP + _MARGIN
    for video in videos:
        height += _HEADING + sum(_height(view) + _VIEW_GAP for view in video.views)
        height += _VIDEO_GAP - _VIEW_GAP
    figure, axes = _blank(width, height)
    if title:
        _write(axes, _MARGIN, _MARGIN, title, size=14, weight="bold")
        _write(axes, _MARGIN, _MARGIN + 26, LEGEND, size=9, color=MUTED)
    for video in videos:
        _write(axes, _MARGIN, top, _shortened(video.name), size=11, weight="bold")
        _write(axes, _MARGIN, top + _LINE, video.facts, size=9, color=MUTED)
        top += _HEADING
        for view in video.views:
            _draw_view(axes, view, top, width_of_cell)
            top += _height(view) + _VIEW_GAP
        top += _VIDEO_GAP - _VIEW_GAP
    return figure


def _height(view: SheetView) -> int:
    return max(_LABEL + 2 * CELL + _ROW_GAP, _LINE * (1 + len(view.lines)))


def _blank(width: int, height: int) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor=PAPER)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.axis("off")
    return figure, axes


def _draw_view(axes: Axes, view: SheetView, top: int, width_of_cell: int) -> None:
    _write(axes, _MARGIN, top, view.name, size=10, weight="bold")
    for i, line in enumerate(view.lines, start=1):
        _write(axes, _MARGIN, top + i * _LINE, line, size=9, color=MUTED)
    before, after = top + _LABEL, top + _LABEL + CELL + _ROW_GAP
    shown = round(CELL * view.before.shape[2] / view.before.shape[1])
    for i, label in enumerate(view.labels):
        left = _MARGIN + _TEXT_WIDTH + i * (width_of_cell + _GAP)
        _write(axes, left, top, label, size=8, color=MUTED)
        _place(axes, view.before[i], left, before, shown, CELL)
        _place(axes, view.after[i], left, after, CELL, CELL)
        y, x, height, width = view.box
        corner = (left + x * shown, before + y * CELL)
        axes.add_patch(
            Rectangle(corner, width * shown, height * CELL, fill=False, edgecolor=DYNAMIC, linewidth=1.5)
        )


def _place(axes: Axes, image: NDArray[np.uint8], left: int, top: int, width: int, height: int) -> None:
    planar = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)
    scaled = vision.resize(planar, [height, width], antialias=True).permute(1, 2, 0).numpy()
    axes.imshow(
        scaled, extent=(left, left + width, top + height, top), interpolation="nearest", aspect="auto"
    )


def _write(axes: Axes, x: float, y: float, text: str, *, color: str = INK, **style: Any) -> None:
    axes.text(x, y, text, verticalalignment="top", parse_math=False, color=color, **style)


def _shortened(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else "…" + name[1 - _LONGEST_NAME :]
