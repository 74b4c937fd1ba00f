"""The package keeps the layering rule of tests/layers.py, and the rule sees what breaks it."""

from __future__ import annotations

from pathlib import Path

import pytest
from layers import circle, read_imports, room, upward

PACKAGE = Path(__file__).resolve().parent.parent / "bodvcl"


def test_imports_only_run_downwards() -> None:
    assert upward(read_imports(PACKAGE)) == []


def test_no_module_imports_itself_through_others() -> None:
    assert circle(read_imports(PACKAGE, only_at_import=True)) == []


def test_an_import_upwards_is_seen_wherever_it_stands(tmp_path: Path) -> None:
    package = tmp_path / "bodvcl"
    for name, text in {
        "engine/loop.py": "def late():\n    from bodvcl.cli.console import run_verb\n",
        "ops/split.py": "from bodvcl import engine\nimport bodvcl.engine.loop\nfrom .. import cli\n",
        "ops/__init__.py": "from ..cli.console import run_verb\n",
        "reference/koopman.py": "if TYPE_CHECKING:\n    from bodvcl.ops import split\n",
        "cli/console.py": "from bodvcl.engine import loop\n",
    }.items():
        path = package / name
        path.parent.mkdir(parents=True, exist_ok=True)
        (path.parent / "__init__.py").touch()
        path.write_text(text, encoding="utf-8")
    assert upward(read_imports(package)) == [
        "bodvcl.engine.loop -> bodvcl.cli.console",
        "bodvcl.ops -> bodvcl.cli.console",
        "bodvcl.ops.split -> bodvcl.cli",
        "bodvcl.ops.split -> bodvcl.engine",
        "bodvcl.ops.split -> bodvcl.engine.loop",
        "bodvcl.reference.koopman -> bodvcl.ops.split",
    ]


def test_what_only_a_type_checker_imports_makes_no_circle(tmp_path: Path) -> None:
    package = tmp_path / "bodvcl"
    package.mkdir()
    (package / "a.py").write_text("from bodvcl import b\n", encoding="utf-8")
    for guard, found in (("TYPE_CHECKING", False), ("not TYPE_CHECKING", True)):
        (package / "b.py").write_text(f"if {guard}:\n    from bodvcl import a\n", encoding="utf-8")
        assert bool(circle(read_imports(package, only_at_import=True))) is found


def test_rooms_of_one_row_do_not_import_each_other() -> None:
    assert upward({"bodvcl.optim.lars": {"bodvcl.models.encoder"}}) == [
        "bodvcl.optim.lars -> bodvcl.models.encoder"
    ]
    assert upward({"bodvcl.optim.lars": {"bodvcl.optim.lamb", "bodvcl.ops.sinkhorn"}}) == []


def test_a_circle_inside_a_room_is_seen() -> None:
    assert circle({"bodvcl.ops.a": {"bodvcl.ops.b"}, "bodvcl.ops.b": {"bodvcl.ops.a"}})


def test_a_module_in_no_room_is_named() -> None:
    with pytest.raises(KeyError, match=r"bodvcl\.attic is in no room"):
        room("bodvcl.attic")
