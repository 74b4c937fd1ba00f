"""The pages that a reader meets (README, CONTRIBUTING, examples, docs) and what their Markdown is made of."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "examples/README.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]

_FENCE = re.compile(
    r"^(?P<fence>```+)(?P<language>[^\n]*)\n(?P<text>.*?)^(?P=fence)[ ]*$", re.DOTALL | re.MULTILINE
)
_NOT_RUN = re.compile(r"<!-- not run: (?P<reason>[^\n]+?) -->\s*\Z")


@dataclass(frozen=True)
class Block:
    """A fenced block of code."""

    page: Path
    line: int
    """Line of the page on which its text begins, from 1."""
    language: str
    text: str
    not_run: str | None
    """Why the tests cannot run it: the comment before it."""

    def __str__(self) -> str:
        return f"{name_of(self.page)}:{self.line}"


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path, *languages: str) -> Iterator[Block]:
    """The fenced blocks of a page in these languages, in their order; all without languages."""
    text = page.read_text(encoding="utf-8")
    for found in _FENCE.finditer(text):
        language = found["language"].strip()
        if languages and language not in languages:
            continue
        before = _NOT_RUN.search(text[: found.start()])
        line = text.count("\n", 0, found.start("text")) + 1
        yield Block(page, line, language, found["text"], before["reason"] if before else None)


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return _FENCE.sub("", page.read_text(encoding="utf-8"))


def code_in(page: Path) -> Iterator[str]:
    """Every piece of code of a page: fenced blocks and `code` in sentences."""
    yield from (block.text for block in blocks(page))
    yield from re.findall(r"`([^`\n]+)`", prose(page))
