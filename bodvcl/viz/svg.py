"""Matplotlib figures as inline SVG whose colours follow the page's theme."""

from __future__ import annotations

import functools
import io
import re
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

INK = "#30343b"
MUTED = "#767c87"
GRID = "#d9dce1"
PAPER = "#fefdfc"
STATIC = "#0072b2"
DYNAMIC = "#d55e00"
EXTRA = "#009e73"
BEFORE = "#8b929e"

THEME = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    GRID: "var(--grid)",
    PAPER: "var(--card)",
    STATIC: "var(--static)",
    DYNAMIC: "var(--dynamic)",
    EXTRA: "var(--extra)",
    BEFORE: "var(--before)",
}
"""Colour drawn by matplotlib -> CSS variable of the page. Static, dynamic and extra are Okabe and Ito's."""

STYLE = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": MUTED,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "axes.formatter.use_mathtext": False,
    "figure.facecolor": "none",
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "lines.solid_capstyle": "round",
}


P = ParamSpec("P")
R = TypeVar("R")


def styled(draw: Callable[P, R]) -> Callable[P, R]:
    """Decorator: run a drawing function in the report's style, then put matplotlib's settings back."""

    @functools.wraps(draw)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        with matplotlib.rc_context(STYLE):
            return draw(*args, **kwargs)

    return wrapper


def new_axes(width: float = 4.6, height: float = 3.1) -> Axes:
    """Axes of a new figure of ``width`` x ``height`` inches that belongs to no window and no global list."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasSVG(figure)
    return figure.add_subplot()


def inline_svg(figure: Figure, name: str, alt: str) -> str:
    """The figure as an ``<svg>`` element for an HTML page.

    ``name`` (letters, digits, dashes) makes the ids in it unique within the page; ``alt`` describes it to
    those who do not see it and has been escaped.
    """
    buffer = io.StringIO()
    with matplotlib.rc_context(STYLE | {"svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r" font-family: [^;]*;", "", text)
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r'xlink:href="#', f'href="#{name}-', text)
    text = text.replace("xlink:href=", "href=").replace("url(#", f"url(#{name}-")
    text = re.sub(r'\sxmlns(:xlink)?="[^"]*"', "", text)
    for colour, variable in THEME.items():
        text = text.replace(colour, variable)
    view_box = re.search(r'viewBox="[^"]*"', text)
    head = f'<svg {view_box.group() if view_box else ""} role="img" aria-label="{alt}">'
    return head + text[text.index(">") + 1 :].strip()
