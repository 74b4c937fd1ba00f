"""Matplotlib figures as inline SVG whose colours follow the page's theme."""

from __future__ import annotations

import functools
import io
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from matplotlib.typing import RcKeyType

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
"""Colour of a figure to CSS variable of the page. Static, dynamic and extra are colours of Okabe and Ito."""

STYLE: dict[RcKeyType, Any] = {
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
    """Decorator: run a drawing function in the report's style, then restore matplotlib's settings."""

    @functools.wraps(draw)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        with matplotlib.rc_context(STYLE):
            return draw(*args, **kwargs)

    return wrapper


def new_figure(width: float = 4.6, height: float = 3.1) -> tuple[Figure, Axes]:
    """A new figure of ``width`` x ``height`` inches with one panel; it has no window."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasSVG(figure)
    return figure, figure.add_subplot()


def inline_svg(figure: Figure, name: str, alt: str) -> str:
    """The figure as an ``<svg>`` element for an HTML page.

    Args:
        figure: the figure.
        name: letters, digits and dashes; makes the ids of the element unique within the page.
        alt: description for screen readers, already escaped.
    """
    buffer = io.StringIO()
    style: dict[RcKeyType, Any] = {**STYLE, "svg.hashsalt": name}
    with matplotlib.rc_context(style):
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
