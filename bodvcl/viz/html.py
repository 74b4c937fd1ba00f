"""Small pieces of HTML. Every function escapes the text that it takes; finished HTML is ``Markup``."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Mapping
from typing import Any

from matplotlib.figure import Figure

from bodvcl.viz.svg import inline_svg


class Markup(str):
    """A piece of finished HTML; other text still has to be escaped."""


def escape(text: object) -> Markup:
    """Text as HTML, safe inside an element and inside a quoted attribute."""
    return text if isinstance(text, Markup) else Markup(html.escape(str(text), quote=True))


def join(parts: Iterable[str]) -> Markup:
    """Pieces of HTML, each on its own line; plain text among them is escaped."""
    return Markup("\n".join(escape(part) for part in parts))


def section(name: str, title: str, *parts: str) -> Markup:
    """A section with a heading; ``name`` is its id."""
    return Markup(f'<section id="{escape(name)}">\n<h2>{escape(title)}</h2>\n{join(parts)}\n</section>')


def paragraph(text: str) -> Markup:
    """A paragraph that explains how to read what follows."""
    return Markup(f'<p class="read">{escape(text)}</p>')


def chart(name: str, title: str, figure: Figure, caption: str) -> Markup:
    """A figure with a title and a caption, which are also its description for screen readers."""
    svg = inline_svg(figure, name, escape(f"{title}. {caption}"))
    return Markup(f"<figure><h3>{escape(title)}</h3>{svg}<figcaption>{escape(caption)}</figcaption></figure>")


def grid(figures: Iterable[str]) -> Markup:
    """Figures side by side, or below each other on a narrow screen."""
    return Markup(f'<div class="figures">\n{join(figures)}\n</div>')


def facts(values: Mapping[str, Any]) -> Markup:
    """Names and values as a description list; nested mappings are flattened."""
    rows = (f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in _flatten(values))
    return Markup(f'<div class="card"><dl class="facts">{"".join(rows)}</dl></div>')


def number(value: float, digits: int = 3) -> str:
    """A number with ``digits`` significant digits, without an exponent unless it is very large or small; a
    dash for NaN."""
    if not math.isfinite(value):
        return "–"
    if value == 0 or 1e-3 <= abs(value) < 10**digits:
        decimals = digits - 1 - (math.floor(math.log10(abs(value))) if value else 0)
        return f"{value:.{max(0, decimals)}f}"
    return f"{value:,.0f}" if 1 <= abs(value) < 1e9 else f"{value:.{digits - 1}e}"


def duration(seconds: float) -> str:
    """Seconds as ``48 s``, ``2 min 5 s`` or ``3 h 12 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _flatten(values: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    for key, value in values.items():
        name = prefix + str(key).replace("_", " ")
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{name}: ")
        elif isinstance(value, list):
            yield name, ", ".join(map(str, value)) or "none"
        elif isinstance(value, bool) or value is None:
            yield name, {True: "yes", False: "no", None: "none"}[value]
        elif isinstance(value, float):
            yield name, number(value, 4)
        else:
            yield name, str(value)
