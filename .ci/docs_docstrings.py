"""Docstrings as this project writes them, made ready for the site.

Names of other objects become links, entries that several parameters share become one each, and formulas are
not read as Markdown.
"""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Iterator

import griffe

_ROLE = re.compile(r":(?:func|class|meth|mod|data|attr|exc):`(~?)([\w.]+)`")
_CODE = re.compile(r"(`+[^`]+`+)")
_SHARED = re.compile(r"(\s+)(\w+(?:, \w+)+): (.*)")


def linked(text: str) -> str:
    """``:func:`~bodvcl.ops.f` `` as a link; where the site has no such object it stays plain code."""

    def link(found: re.Match[str]) -> str:
        short, name = found.groups()
        shown = name.rpartition(".")[2] if short else name
        return f'<autoref identifier="{name}" optional><code>{shown}</code></autoref>'

    return _ROLE.sub(link, text)


def formulas(text: str) -> str:
    """``.. math::`` blocks and ``:math:`` roles as code."""
    text = re.sub(r":math:`([^`]+)`", r"`\1`", text)

    def block(found: re.Match[str]) -> str:
        return textwrap.indent(f"```text\n{inspect.cleandoc(found[2])}\n```", found[1])

    return re.sub(r"^( *)\.\. math:: *(.*(?:\n\1 +.*)*)", block, text, flags=re.MULTILINE)


def plain(text: str) -> str:
    """Stars and ``[a](b)`` outside of code are formulas, neither emphasis nor links."""
    inside = fenced = False
    lines = []
    for line in text.split("\n"):
        if line.lstrip().startswith("```"):
            fenced = not fenced
        if line and not line[0].isspace():
            inside = line.rstrip().endswith(":")
        if not fenced and (inside or not line.startswith("    ")):  # else a block of code
            parts = _CODE.split(line)
            parts[::2] = [_escaped(part) for part in parts[::2]]
            line = "".join(parts)
        lines.append(line)
    return "\n".join(lines)


def _escaped(text: str) -> str:
    return re.sub(r"<(?=\w)", "&lt;", text).replace("*", r"\*").replace("](", r"]\(")


def one_entry_each(text: str) -> str:
    """``mean, std: text`` under ``Args:`` as an entry for each of the names."""
    return "\n".join(_split(text.split("\n")))


def _split(lines: list[str]) -> Iterator[str]:
    inside = False
    while lines:
        line = lines.pop(0)
        if line and not line[0].isspace():
            inside = line.rstrip() in ("Args:", "Attributes:")
        shared = _SHARED.fullmatch(line) if inside else None
        if shared is None:
            yield line
            continue
        indent, names, first = shared.groups()
        rest = []
        while lines and lines[0].startswith(indent + " "):
            rest.append(lines.pop(0))
        for name in names.split(", "):
            yield f"{indent}{name}: {first}"
            yield from rest


class Docstrings(griffe.Extension):
    """Rewrites every docstring as it is read."""

    def on_instance(self, *, obj: griffe.Object, **kwargs: object) -> None:
        """Called once for each module, class, function and attribute."""
        if obj.docstring is not None:
            obj.docstring.value = one_entry_each(linked(plain(formulas(obj.docstring.value))))
