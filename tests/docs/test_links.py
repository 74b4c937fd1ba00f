"""Every relative link of README and docs leads to a file and, where it names one, to a heading."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from pages import PAGES, ROOT, name_of, prose

_LINK = re.compile(r"!?\[(?:[^\]\[]|\[[^\]]*\])*\]\(([^)\s]+)\)")


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page):
    broken = [f"{link}: {why}" for link in links(page) if (why := _why_broken(page, link))]
    assert not broken, broken


def test_the_pages_of_the_site_link_to_nothing_outside_of_it():
    """A page of docs/ is read on the site as well, where files of the repository are not."""
    docs = ROOT / "docs"
    for page in docs.rglob("*.md"):
        for link in links(page):
            target = (page.parent / link.partition("#")[0]).resolve()
            assert target.is_relative_to(docs), f"{name_of(page)} links to {link}"


def test_broken_links_are_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# A page\n[a](page.md#a-page) [b](#a-page) [c](gone.md) [d](#gone) `[e](code)`\n")
    assert [link for link in links(page) if _why_broken(page, link)] == ["gone.md", "#gone"]


def links(page: Path) -> Iterator[str]:
    """The relative links of a page."""
    text = re.sub(r"`[^`\n]+`", "", prose(page))
    return (link for link in _LINK.findall(text) if not re.match(r"[a-z]+:", link))


def anchors(page: Path) -> set[str]:
    """What GitHub makes of the headings of a page."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ +(.+?) *$", prose(page), re.MULTILINE):
        words = re.sub(r"[`*]|\]\([^)]*\)", "", heading).lower()
        found.add(re.sub(r"[^\w\- ]", "", words).replace(" ", "-"))
    return found


def _why_broken(page: Path, link: str) -> str | None:
    path, _, anchor = link.partition("#")
    target = (page.parent / path) if path else page
    if not target.exists():
        return "no such file"
    if anchor and anchor not in anchors(target):
        return f"no heading {anchor!r}"
    return None
