"""Contact sheet of clips before and after augmentation, drawn to the pixel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from bodvcl.viz.sheet import CELL, GAP, LINE, MARGIN, blank, place, shortened, write
from bodvcl.viz.svg import DYNAMIC, MUTED

LEGEND = "Upper row: whole frames with the crop. Lower row: what the network gets."
_ROW_GAP = 8
_TEXT_WIDTH = 250
_HEADING, _TITLE, _LABEL = 50, 62, 18
_VIEW_GAP, _VIDEO_GAP = 22, 34


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

    Save it with :func:`bodvcl.viz.sheet.png`: then one pixel of the figure is one pixel of the file.

    Args:
        title: heading of the sheet; "" for none.
        videos: videos to show; all clips have the same number of frames.
    """
    views = [view for video in videos for view in video.views]
    columns = max(len(view.labels) for view in views)
    width_of_cell = max(CELL, *(round(CELL * v.before.shape[2] / v.before.shape[1]) for v in views))
    width = 2 * MARGIN + _TEXT_WIDTH + columns * (width_of_cell + GAP) - GAP
    top = MARGIN + (_TITLE if title else 0)
    height = top - _VIDEO_GAP + MARGIN
    for video in videos:
        height += _HEADING + sum(_height(view) + _VIEW_GAP for view in video.views)
        height += _VIDEO_GAP - _VIEW_GAP
    figure, axes = blank(width, height)
    if title:
        write(axes, MARGIN, MARGIN, title, size=14, weight="bold")
        write(axes, MARGIN, MARGIN + 26, LEGEND, size=9, color=MUTED)
    for video in videos:
        write(axes, MARGIN, top, shortened(video.name), size=11, weight="bold")
        write(axes, MARGIN, top + LINE, video.facts, size=9, color=MUTED)
        top += _HEADING
        for view in video.views:
            _draw_view(axes, view, top, width_of_cell)
            top += _height(view) + _VIEW_GAP
        top += _VIDEO_GAP - _VIEW_GAP
    return figure


def _height(view: SheetView) -> int:
    return max(_LABEL + 2 * CELL + _ROW_GAP, LINE * (1 + len(view.lines)))


def _draw_view(axes: Axes, view: SheetView, top: int, width_of_cell: int) -> None:
    write(axes, MARGIN, top, view.name, size=10, weight="bold")
    for i, line in enumerate(view.lines, start=1):
        write(axes, MARGIN, top + i * LINE, line, size=9, color=MUTED)
    before, after = top + _LABEL, top + _LABEL + CELL + _ROW_GAP
    shown = round(CELL * view.before.shape[2] / view.before.shape[1])
    for i, label in enumerate(view.labels):
        left = MARGIN + _TEXT_WIDTH + i * (width_of_cell + GAP)
        write(axes, left, top, label, size=8, color=MUTED)
        place(axes, view.before[i], left, before, shown, CELL)
        place(axes, view.after[i], left, after, CELL, CELL)
        y, x, height, width = view.box
        corner = (left + x * shown, before + y * CELL)
        axes.add_patch(
            Rectangle(corner, width * shown, height * CELL, fill=False, edgecolor=DYNAMIC, linewidth=1.5)
        )
