"""The layering rule of the package: imports only run downwards, and never in a circle.

Run it alone to see every import that breaks the rule: ``python tests/layers.py``.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from importlib.util import resolve_name
from pathlib import Path

LAYERS: tuple[frozenset[str], ...] = tuple(
    frozenset(row.split())
    for row in (
        "face entries",
        "experiments",
        "cli",
        "hub",
        "doctor",
        "losses pretrained",
        "compare",
        "sweep",
        "tables figures",
        "serve",
        "search",
        "export embed",
        "detect",
        "finetune",
        "evaluate",
        "viz",
        "engine",
        "objectives",
        "models bilevel optim",
        "data.show data.augment data.source data.video data.scan data.transcode",
        "data.sources",
        "data.clips",
        "data.files",
        "data.sets",
        "data.made",
        "data.tars data.workers data.randomness data",
        "runs",
        "ops",
        "reference",
        "config",
        "system text",
        "errors supported",
    )
)
"""From the top down. A room imports itself and rooms of rows further down; rooms of one row do not import
each other. ``a.b`` is a room inside the room ``a``."""

FACE = "bodvcl"
ENTRIES = {
    "bodvcl.train",
    "bodvcl.probe",
    "bodvcl.info",
    "bodvcl.report",
    "bodvcl.data_cli",
    "bodvcl.__main__",
    "bodvcl.data.__main__",
}
SUPPORTED = "bodvcl._supported"
KERNELS = "bodvcl.kernels"
"""The Triton kernels lie at the top of the repository and belong to the operators."""

Imports = Mapping[str, set[str]]
"""Module to the modules of the package that it imports."""


def read_imports(package: Path, *, only_at_import: bool = False) -> dict[str, set[str]]:
    """Every import in the package, also inside functions and for the type checker.

    Args:
        package: the folder ``bodvcl``.
        only_at_import: leave out what does not run when the module is imported.
    """
    paths = {*package.rglob("*.py"), *package.glob("kernels/*.py")}  # the kernels are behind a link
    files = {_dotted(path.relative_to(package.parent)): path for path in paths}
    found: dict[str, set[str]] = {}
    for module, path in files.items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        nodes = _run_at_import(tree.body) if only_at_import else ast.walk(tree)
        folder = module if path.name == "__init__.py" else module.rpartition(".")[0]
        found[module] = {target for node in nodes for target in _targets(node, folder, files)} - {module}
    return found


def upward(imports: Imports) -> list[str]:
    """``module -> module`` of every import that does not run downwards."""
    height = {room: len(LAYERS) - row for row, rooms in enumerate(LAYERS) for room in rooms}
    wrong = []
    for module, targets in imports.items():
        here = room(module)
        for target in sorted(targets - {FACE}):  # of the face only the version is read
            there = room(target)
            if here != there and height[here] <= height[there]:
                wrong.append(f"{module} -> {target}")
    return sorted(wrong)


def circle(imports: Imports) -> list[str]:
    """Modules that import each other in a circle, or nothing."""
    graph = {module: targets - {FACE} for module, targets in imports.items() if module != FACE}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def room(module: str) -> str:
    """The room of a module.

    Raises:
        KeyError: `LAYERS` does not name it.
    """
    if module == FACE:
        return "face"
    if module in ENTRIES:
        return "entries"
    if module == SUPPORTED:
        return "supported"
    if module.startswith(KERNELS):
        return "ops"
    parts = module.split(".")[1:]
    for name in (".".join(parts[:2]), parts[0]):
        if any(name in rooms for rooms in LAYERS):
            return name
    raise KeyError(f"{module} is in no room of LAYERS in tests/layers.py: say there where it belongs")


def _dotted(path: Path) -> str:
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


def _targets(node: ast.AST, folder: str, modules: Iterable[str]) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names if alias.name in modules)
    elif isinstance(node, ast.ImportFrom):
        source = resolve_name("." * node.level + (node.module or ""), folder)
        for alias in node.names:
            whole = f"{source}.{alias.name}"
            target = whole if whole in modules else source
            if target in modules:
                yield target


def _run_at_import(body: Iterable[ast.AST]) -> Iterator[ast.AST]:
    for node in body:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in (test := ast.unparse(node.test)):
            yield from _run_at_import(node.body if test.startswith("not ") else node.orelse)
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node
            yield from _run_at_import(ast.iter_child_nodes(node))


if __name__ == "__main__":
    root = Path(__file__).resolve().parent.parent / "bodvcl"
    problems = upward(read_imports(root)) + circle(read_imports(root, only_at_import=True))
    print("\n".join(problems) or "imports only run downwards")
    sys.exit(bool(problems))
