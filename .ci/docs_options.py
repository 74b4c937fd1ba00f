"""Fills docs/options.md with a table for each group of options, from the configuration's fields and texts."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bodvcl.config.schema import TrainConfig

MARK = "<!-- options -->"


def on_page_markdown(markdown: str, **_: Any) -> str:
    """MkDocs calls this with the text of every page."""
    return markdown.replace(MARK, "\n".join(tables())) if MARK in markdown else markdown


def tables(cls: type = TrainConfig, prefix: str = "") -> Iterator[str]:
    """Markdown of the options of a configuration class, then of the groups below it."""
    texts = _written_in(cls)
    groups = []
    yield f"\n## {'`--' + prefix + '*`' if prefix else 'General'}\n\n{inspect.cleandoc(cls.__doc__ or '')}\n"
    yield "| option | values | default | meaning |\n|---|---|---|---|"
    for field in dataclasses.fields(cls):
        default: Any = field.default
        if field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        if dataclasses.is_dataclass(default):
            groups.append((type(default), f"{prefix}{field.name}."))
            continue
        kind, text = texts[field.name]
        option = prefix + field.name.replace("_", "-")
        yield f"| `--{option}` | {_cell(kind)} | `{_shown(default)}` | {_cell(text)} |"
    for group, name in groups:
        yield from tables(group, name)


def _written_in(cls: type) -> dict[str, tuple[str, str]]:
    """Annotation and text under each field, as they stand in the source of the class and of its bases."""
    found: dict[str, tuple[str, str]] = {}
    for one in reversed(cls.__mro__):
        if dataclasses.is_dataclass(one):
            found |= _written_there(one)
    return found


def _written_there(cls: type) -> dict[str, tuple[str, str]]:
    (body,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
    assert isinstance(body, ast.ClassDef)
    found: dict[str, tuple[str, str]] = {}
    for line, below in zip(body.body, [*body.body[1:], None], strict=True):
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name):
            text = ""
            if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
                text = inspect.cleandoc(str(below.value.value))
            found[line.target.id] = (_kind(line.annotation), text)
    return found


def _kind(annotation: ast.expr) -> str:
    """``Annotated[int, Field(ge=1)] | None`` as ``int, at least 1, or None``."""
    if isinstance(annotation, ast.BinOp):
        return f"{_kind(annotation.left)}, or {_kind(annotation.right)}"
    if isinstance(annotation, ast.Subscript) and isinstance(annotation.slice, ast.Tuple):
        name, inside = ast.unparse(annotation.value), annotation.slice.elts
        if name == "Literal":
            return ", ".join(f"`{ast.literal_eval(value)}`" for value in inside)
        if name == "Annotated":
            bounds = [text for extra in inside[1:] if isinstance(extra, ast.Call) for text in _bounds(extra)]
            return ", ".join([_kind(inside[0]), *bounds])
    return _NAMES.get(ast.unparse(annotation), ast.unparse(annotation))


_NAMES = {
    "str": "text",
    "int": "whole number",
    "float": "number",
    "bool": "switch",
    "UserPath": "path",
    "Seed": "whole number, at least 0",
    "tuple[float, float]": "two numbers",
}


def _bounds(field: ast.Call) -> Iterator[str]:
    words = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below", "multiple_of": "multiple of"}
    for keyword in field.keywords:
        if keyword.arg in words:
            yield f"{words[keyword.arg]} {ast.unparse(keyword.value)}"


def _shown(default: Any) -> str:
    return " ".join(map(str, default)) if isinstance(default, tuple) else str(default)


def _cell(text: str) -> str:
    parts = text.split("`")
    parts[::2] = [part.replace("<", "&lt;").replace("*", r"\*") for part in parts[::2]]  # not in code
    return "`".join(parts).replace("|", r"\|").replace("\n", "<br>")
