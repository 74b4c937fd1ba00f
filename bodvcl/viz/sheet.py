"""Pictures that are laid out to the pixel: an empty sheet, frames and text on it."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torchvision.transforms.v2 import functional as vision

from bodvcl.viz.svg import INK, PAPER

DPI = 100
CELL = 112
"""Height of a frame on a sheet in pixels."""
MARGIN, GAP, LINE = 24, 6, 19
"""Pixels around a sheet, between two frames, and from one line of text to the next."""
_LONGEST_NAME = 110


def blank(width: int, height: int) -> tuple[Figure, Axes]:
    """An empty sheet of ``width`` x ``height`` pixels; coordinates are pixels from the upper left."""
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor=PAPER)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.axis("off")
    return figure, axes


def place(axes: Axes, image: NDArray[np.uint8], left: int, top: int, width: int, height: int) -> None:
    """Scale a picture (h, w, 3) and put it on a sheet."""
    planar = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)
    scaled = vision.resize(planar, [height, width], antialias=True).permute(1, 2, 0).numpy()
    axes.imshow(
        scaled, extent=(left, left + width, top + height, top), interpolation="nearest", aspect="auto"
    )


def write(axes: Axes, x: float, y: float, text: str, *, color: str = INK, **style: Any) -> None:
    """Write text whose upper left corner is (x, y)."""
    axes.text(x, y, text, verticalalignment="top", parse_math=False, color=color, **style)


def shortened(name: str, longest: int = _LONGEST_NAME) -> str:
    """A name without its beginning where it is too long for a line."""
    return name if len(name) <= longest else "…" + name[1 - longest :]


def png(figure: Figure) -> bytes:
    """A sheet as PNG; one pixel of the sheet is one pixel of the picture."""
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=DPI)
    return out.getvalue()
