"""One figure on the page: what was drawn, what the paper calls it, and what it was made from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from bodvcl.viz.html import Markup, escape, paragraph, section


class FigureSection(NamedTuple):
    """A figure of the page.

    Attributes:
        name: the word of ``--figures``.
        title: its heading.
        paper: the figure of the paper, or "".
        text: how to read it.
        data: what it was made from.
        parts: its pictures, as HTML.
    """

    name: str
    title: str
    paper: str
    text: str
    data: str
    parts: Sequence[Markup]

    def html(self, command: str, commit: str, files: Sequence[str]) -> Markup:
        """The section of the page.

        Args:
            command: command that makes this figure.
            commit: commit of the code; "": not known.
            files: names of its files.
        """
        lines = [
            *([f"{self.paper} of the paper"] if self.paper else []),
            f"data: {self.data}",
            f"command: {command}",
            *([f"commit: {commit}"] if commit else []),
            f"files: {', '.join(files)}",
        ]
        made = Markup("<br>".join(escape(line) for line in lines))
        source = Markup(f'<p class="read"><small>{made}</small></p>')
        return section(self.name, self.title, paragraph(self.text), *self.parts, source)
