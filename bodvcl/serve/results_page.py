"""The page that a search writes: videos that play, in one file that needs no other and no network."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import resources
from typing import NamedTuple

import bodvcl
from bodvcl.data.files.video import BadVideo
from bodvcl.serve.kept import AT_ONCE
from bodvcl.serve.preview import Look, moving, still
from bodvcl.text.words import counted, printable
from bodvcl.viz.html import Markup, escape, join, paragraph, section
from bodvcl.viz.html import facts as fact_list
from bodvcl.viz.report import page

MOST_ITEMS = 200
"""Videos on one page. All of them are in the file, at about 30 to 60 KB each."""

_LOOK = Look(short_side=120, fps=12, seconds=4, crf=29)
_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "img-src data:; media-src data:"
)


class Shown(NamedTuple):
    """A video, or a part of it, on the page.

    Attributes:
        path: the file.
        start, end: seconds from its first frame.
        caption: lines of text below it.
    """

    path: str
    start: float
    end: float
    caption: str


class Group(NamedTuple):
    """Videos under one heading.

    Attributes:
        heading: the heading.
        about: a sentence that says how to read them.
        items: the videos, in order.
    """

    heading: str
    about: str
    items: Sequence[Shown]


class _Pictures(NamedTuple):
    """JPEG and MP4 of a video, or why there are none."""

    still: bytes
    moving: bytes
    reason: str


def results_page(title: str, groups: Sequence[Group], facts: Mapping[str, str]) -> str:
    """A self-contained page of videos that play under the pointer or with the focus, light and dark.

    Args:
        title: its heading.
        groups: the videos. The first :data:`MOST_ITEMS` are shown; lines say how many are left out.
        facts: names and values at its end.

    Returns:
        The page. A video that cannot be read has its reason in its place.
    """
    shown = _within(groups)
    wanted = list(dict.fromkeys((item.path, item.start, item.end) for group in shown for item in group.items))
    with ThreadPoolExecutor(AT_ONCE) as pool:
        made = dict(zip(wanted, pool.map(_pictures, wanted)))
    sections = [_group(number, groups[number], group, made) for number, group in enumerate(shown)]
    if unseen := groups[len(shown) :]:
        videos = sum(len(group.items) for group in unseen)
        text = f"Not shown: {counted(len(unseen), 'more group')} with {counted(videos, 'video')}."
        sections.append(section("more", "Left out", paragraph(text)))
    return page(
        title=title,
        lead="Videos play under the pointer, or with the focus (Tab).",
        sections=[*sections, _about(facts)],
        footer=f"Written by bodvcl {bodvcl.__version__}",
        head=_head(),
    )


def _within(groups: Sequence[Group]) -> list[Group]:
    """The groups and items that there is room for."""
    room, shown = MOST_ITEMS, []
    for group in groups:
        if room == 0:
            break
        shown.append(group._replace(items=group.items[:room]))
        room -= len(shown[-1].items)
    return shown


def _pictures(wanted: tuple[str, float, float]) -> _Pictures:
    try:
        return _Pictures(still(*wanted, _LOOK), moving(*wanted, _LOOK), "")
    except BadVideo as error:
        return _Pictures(b"", b"", error.reason)


def _group(
    number: int, whole: Group, shown: Group, made: Mapping[tuple[str, float, float], _Pictures]
) -> Markup:
    items = [_item(item, made[item.path, item.start, item.end]) for item in shown.items]
    parts: list[str] = [paragraph(whole.about)] if whole.about else []
    parts.append(
        Markup(f'<ul class="clips">{join(items)}</ul>') if items else paragraph("Nothing was found.")
    )
    if left := len(whole.items) - len(shown.items):
        parts.append(paragraph(f"Not shown: {counted(left, 'more video')}."))
    return section(f"group-{number}", whole.heading, *parts)


def _item(item: Shown, pictures: _Pictures) -> Markup:
    name = escape(printable(item.path))
    lines = [escape(printable(line)) for line in item.caption.split("\n")]
    said = "".join(f'<span class="{"time" if k else "called"}">{line}</span>' for k, line in enumerate(lines))
    if pictures.reason:
        picture, preview = f'<span class="reason">{escape(pictures.reason)}</span>', ""
    else:
        picture = f'<img src="{_data("image/jpeg", pictures.still)}" alt="" loading="lazy">'
        preview = f' data-preview="{_data("video/mp4", pictures.moving)}"'
    label = ", ".join([name, *lines, *([escape(pictures.reason)] if pictures.reason else [])])
    return Markup(
        f'<li><div class="clip" tabindex="0" role="group" aria-label="{label}" title="{name}"{preview}>'
        f'<span class="picture">{picture}</span><span class="said">{said}</span></div></li>'
    )


def _about(values: Mapping[str, str]) -> Markup:
    return section("facts", "About this page", fact_list({name: printable(v) for name, v in values.items()}))


def _head() -> Markup:
    folder = resources.files("bodvcl.serve")
    style, script = (folder.joinpath(name).read_text(encoding="utf-8") for name in ("clips.css", "clips.js"))
    return Markup(
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        f'<style>\n{style}</style>\n<script type="module">\n{script}</script>'
    )


def _data(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
