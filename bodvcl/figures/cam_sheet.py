"""The contact sheet of Grad-CAM: frames of a clip, and below them the maps of every run."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from bodvcl.figures.overlay import scale_bar
from bodvcl.viz.sheet import CELL, DPI, GAP, LINE, MARGIN, blank, place, shortened, write
from bodvcl.viz.svg import MUTED

MOST_FRAMES = 8
"""Largest number of frames of a clip on the sheet; of a longer clip, evenly spread ones are shown."""
SCALE_TEXT = "share of the strongest place of this clip, of each run by itself"
_TEXT_WIDTH = 236
_HEADING, _LABEL, _FOOT = 46, 17, 44
_LONGEST = 30
_BAR = 32


class SheetRow(NamedTuple):
    """The maps of one run.

    Attributes:
        name: name of the run.
        lines: facts about it.
        frames: uint8 ``(L, S, S, 3)``, frames with the map.
    """

    name: str
    lines: Sequence[str]
    frames: NDArray[np.uint8]


class SheetClip(NamedTuple):
    """One clip.

    Attributes:
        name: heading.
        facts: the line below it.
        numbers: ``(L,)`` numbers of its frames in the video.
        frames: uint8 ``(L, S, S, 3)``, its frames.
        rows: one for each run.
    """

    name: str
    facts: str
    numbers: NDArray[np.int64]
    frames: NDArray[np.uint8]
    rows: Sequence[SheetRow]


def cam_sheet(clip: SheetClip) -> Figure:
    """Draw a clip; columns are its frames, the same in all rows."""
    shown = shown_frames(len(clip.numbers))
    width = 2 * MARGIN + _TEXT_WIDTH + len(shown) * (CELL + GAP) - GAP
    height = _HEADING + _LABEL + (1 + len(clip.rows)) * (CELL + GAP)
    figure, axes = blank(width, 2 * MARGIN + height + _FOOT)
    _draw_clip(axes, clip, shown, MARGIN)
    _draw_scale(axes, MARGIN + _TEXT_WIDTH, MARGIN + height + 14)
    return figure


def shown_frames(length: int) -> NDArray[np.int64]:
    """Places of the frames of a clip that are columns of the sheet."""
    return np.unique(np.linspace(0, length - 1, min(length, MOST_FRAMES)).round().astype(np.int64))


def _draw_clip(axes: Axes, clip: SheetClip, shown: NDArray[np.int64], top: int) -> None:
    write(axes, MARGIN, top, shortened(clip.name), size=11, weight="bold")
    write(axes, MARGIN, top + LINE, clip.facts, size=9, color=MUTED)
    top += _HEADING
    for column, frame in enumerate(shown):
        left = MARGIN + _TEXT_WIDTH + column * (CELL + GAP)
        write(axes, left, top, f"frame {clip.numbers[frame]}", size=8, color=MUTED)
    top += _LABEL
    for row in (SheetRow("the clip", [], clip.frames), *clip.rows):
        write(axes, MARGIN, top, shortened(row.name, _LONGEST), size=10, weight="bold")
        for number, line in enumerate(row.lines, start=1):
            write(axes, MARGIN, top + number * LINE, line, size=8.5, color=MUTED)
        for column, frame in enumerate(shown):
            left = MARGIN + _TEXT_WIDTH + column * (CELL + GAP)
            place(axes, row.frames[frame], left, top, CELL, CELL)
        top += CELL + GAP


def _draw_scale(axes: Axes, left: int, top: int) -> None:
    width = 2 * CELL
    place(axes, scale_bar(width, 12), left, top, width, 12)
    for share in (0.0, 0.5, 1.0):
        write(axes, left + share * width, top + 14, f"{share:g}", size=8, color=MUTED, ha="center")
    write(axes, left + width + 16, top - 2, SCALE_TEXT, size=8.5, color=MUTED)


def side_by_side(clip: SheetClip) -> NDArray[np.uint8]:
    """The frames of a moving picture: the clip, then each run, with their names above.

    Returns:
        uint8 ``(L, height, width, 3)``, height and width even, one picture per frame of the clip.
    """
    panels = [("the clip", clip.frames), *((row.name, row.frames) for row in clip.rows)]
    size = clip.frames.shape[1]
    width = len(panels) * (size + GAP) - GAP
    figure, axes = blank(width + width % 2, _BAR)
    for number, (name, _) in enumerate(panels):
        write(axes, number * (size + GAP) + 4, 8, shortened(name, size // 8), size=9, weight="bold")
    canvas = FigureCanvasAgg(figure)
    canvas.print_figure(picture := io.BytesIO(), format="rgba", dpi=DPI)
    names = np.frombuffer(picture.getvalue(), np.uint8).reshape(_BAR, -1, 4)[..., :3]
    height = _BAR + size + size % 2
    out = np.full((len(clip.numbers), height, names.shape[1], 3), names[0, 0], np.uint8)
    out[:, :_BAR] = names
    for number, (_, frames) in enumerate(panels):
        left = number * (size + GAP)
        out[:, _BAR : _BAR + size, left : left + size] = frames
    return out
