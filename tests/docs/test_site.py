"""What the site makes of docstrings and options. `make docs` builds it; a broken link fails there."""

from __future__ import annotations

import importlib.util
from types import ModuleType

import pytest
from pages import ROOT

from bodvcl.config.command_line import option_names
from bodvcl.config.schema import TrainConfig


def hook(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / ".ci" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_option_has_a_row_with_its_text():
    rows = [line for line in "\n".join(hook("docs_options").tables()).split("\n") if line.startswith("| `--")]
    named = [row.split("`")[1].removeprefix("--") for row in rows]
    options = (name for name in option_names(TrainConfig) if not name.rpartition(".")[2].startswith("no-"))
    assert sorted(named) == sorted(options)
    for row in rows:
        cells = row.replace(r"\|", "").split("|")
        assert len(cells) == 6, row
        assert all(cell.strip() for cell in cells[1:5]), f"an empty cell: {row}"


def test_the_page_of_options_is_filled():
    text = hook("docs_options").on_page_markdown((ROOT / "docs/options.md").read_text())
    assert "| `--clip.frames` | whole number, at least 3 | `8` |" in text
    assert "runs/&lt;date>" in text, "a placeholder is not an HTML tag"


def test_docstrings_become_markdown():
    pytest.importorskip("griffe")
    docstrings = hook("docs_docstrings")
    shared = "Text.\n\nArgs:\n    mean, std: normalisation,\n        per channel.\n    size: pixels.\n"
    assert docstrings.one_entry_each(shared) == (
        "Text.\n\nArgs:\n    mean: normalisation,\n        per channel.\n    std: normalisation,\n"
        "        per channel.\n    size: pixels.\n"
    )
    assert docstrings.plain("theta* and [L](theta*), `a*b` <name>") == (
        r"theta\* and [L]\(theta\*), `a*b` &lt;name>"
    )
    assert docstrings.formulas("As\n\n.. math:: a *\n   b\n\nand :math:`c`") == (
        "As\n\n```text\na *\nb\n```\n\nand `c`"
    )
    assert 'identifier="bodvcl.ops.f" optional><code>f</code>' in docstrings.linked(":func:`~bodvcl.ops.f`")
