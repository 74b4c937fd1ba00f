"""What `import bodvcl` costs and gives."""

from __future__ import annotations

import importlib
import subprocess
import sys
from importlib import metadata

import pytest

import bodvcl

NAMES = [
    "BackendError",
    "DecoupledInfoNCE",
    "__version__",
    "info_nce",
    "koopman_prediction_loss",
    "koopman_split",
    "load_encoder",
]


def fresh(program: str) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_importing_loads_no_dependency():
    heavy = ["torch", "numpy", "pydantic", "tyro", "yaml", "av"]
    assert fresh(f"import sys, bodvcl; print([m for m in {heavy} if m in sys.modules])") == "[]"


def test_the_public_names_are_these_and_all_of_them_are_there():
    assert bodvcl.__all__ == NAMES
    scope: dict[str, object] = {}
    exec("from bodvcl import *", scope)
    assert set(NAMES) <= scope.keys()


def test_names_are_listed_before_they_are_used_and_kept_after():
    program = f"""
import bodvcl
assert set({NAMES}) <= set(dir(bodvcl))
for name in {NAMES}:
    assert name == "__version__" or name not in vars(bodvcl), name
    assert getattr(bodvcl, name) is vars(bodvcl)[name]
"""
    fresh(program)


def test_the_names_are_the_objects_of_the_modules_that_define_them():
    for name, home in (
        ("BackendError", "bodvcl.ops.backend"),
        ("info_nce", "bodvcl.ops.contrastive"),
        ("koopman_prediction_loss", "bodvcl.ops.koopman"),
        ("koopman_split", "bodvcl.ops.koopman"),
    ):
        assert getattr(bodvcl, name) is getattr(importlib.import_module(home), name)


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'bodvcl' has no attribute 'DecoupledInfoNCL'"):
        bodvcl.DecoupledInfoNCL  # noqa: B018


def test_the_version_is_the_installed_one():
    assert bodvcl.__version__ == metadata.version("bodvcl")


def test_backend_error_is_what_an_operation_raises():
    torch = importlib.import_module("torch")
    with pytest.raises(bodvcl.BackendError):
        bodvcl.koopman_split(torch.randn(2, 4, 3), backend="cuda")
