"""The reference judges the package: it imports PyTorch and nothing of what it judges."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

import bodvcl.reference

ROOM = Path(bodvcl.reference.__file__).parent
ALLOWED = {"torch", *sys.stdlib_module_names}


def imported(path: Path) -> set[str]:
    """First names of every import in the file, also of those inside functions; relative ones as "."."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add("." if node.level else str(node.module).split(".")[0])
    return names


def test_there_is_something_to_look_at():
    assert {"koopman.py", "contrastive.py", "augment.py", "sinkhorn.py"} <= {
        p.name for p in ROOM.glob("*.py")
    }


@pytest.mark.parametrize("path", sorted(ROOM.rglob("*.py")), ids=lambda p: p.name)
def test_the_reference_imports_torch_only(path):
    assert imported(path) <= ALLOWED


def test_an_import_of_the_package_would_be_seen(tmp_path):
    for line in ("from bodvcl.ops import native", "import torchvision.ops", "from . import koopman"):
        (tmp_path / "a.py").write_text(f"import torch\n\ndef f():\n    {line}\n")
        assert not imported(tmp_path / "a.py") <= ALLOWED
