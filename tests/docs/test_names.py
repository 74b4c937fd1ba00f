"""Every module, object and file that README, docs and docstrings name exists."""

from __future__ import annotations

import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from pages import PAGES, ROOT, code_in, name_of

_DOTTED = re.compile(r"(?<![\w./-])bodvcl(?:\.[A-Za-z_]\w*)+")
_FILE = re.compile(
    r"(?<![\w/.~:<{-])(?P<top>[\w.]+)/(?:[\w.-]+/)*[\w.-]+\.(?:py|cpp|cu|h|sh|json|ya?ml|txt|md|sbatch|html)\b"
)
_ROLE = re.compile(r":(?:func|class|meth|mod|data|attr|exc):`~?(bodvcl\.[\w.]+)`")


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_dotted_names_exist(page):
    missing = sorted({name for name in dotted_names(page) if not _exists(name)})
    assert not missing, missing


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_files_exist(page):
    missing = sorted({name for name in files(page) if not (ROOT / name).exists()})
    assert not missing, missing


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_constants_are_in_the_file_that_is_named(page):
    wrong = [
        f"{name} is not in {file}"
        for name, file in re.findall(r"`([A-Z][A-Z_]{3,})`\s+in\s+`([\w/]+/[\w/]+\.py)`", page.read_text())
        if not re.search(rf"\b{name}\b", (ROOT / file).read_text())
    ]
    assert not wrong, wrong


def test_docstrings_and_messages_name_what_exists():
    """References such as :func:`bodvcl.a.b`, names and paths in code, in every module of the package."""
    missing = []
    for module in (*(ROOT / "bodvcl").rglob("*.py"), *(ROOT / "kernels").glob("*.py")):
        text = module.read_text(encoding="utf-8")
        names = {*_ROLE.findall(text), *re.findall(r"`(bodvcl(?:\.[a-z_]\w*)+)", text)}
        paths = set(
            re.findall(r"\b(?:docs|bench|tests|csrc|configs|examples)/[\w./]+\.(?:md|py|h|sh|cpp)\b", text)
        )
        missing += [f"{name_of(module)}: {name}" for name in names if not _exists(name)]
        missing += [f"{name_of(module)}: {path}" for path in paths if not (ROOT / path).exists()]
    assert not missing, missing


def test_missing_names_are_found():
    assert _exists("bodvcl.ops.koopman.koopman_split")
    assert not _exists("bodvcl.ops.koopman.koopman_merge")
    assert not _exists("bodvcl.nowhere")


def dotted_names(page: Path) -> Iterator[str]:
    """``bodvcl.a.b`` in code, and what the pages of the API document."""
    yield from re.findall(r"^::: ([\w.]+)", page.read_text(), re.MULTILINE)
    for code in code_in(page):
        yield from _DOTTED.findall(code)


def files(page: Path) -> Iterator[str]:
    """Paths in code that begin with a folder of the repository, results left out."""
    tops = {path.name for path in ROOT.iterdir() if path.is_dir()} - {"build", "dist", "runs"}
    for code in code_in(page):
        for found in _FILE.finditer(code):
            if found["top"] in tops and not Path(found[0]).stem.isupper():  # NAME.py stands for any name
                yield found[0]


def _exists(name: str) -> bool:
    try:
        pkgutil.resolve_name(name)
    except (ImportError, AttributeError):
        return False
    return True
