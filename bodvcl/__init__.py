"""bodvcl: video contrastive learning with decoupled static and dynamic semantics (BOD-VCL)."""

from __future__ import annotations

from pathlib import Path

from bodvcl._supported import refuse_unsupported

__version__ = "0.1.0"

refuse_unsupported()

# Straight from a checkout, `kernels/` and `configs/` sit beside this package; an install maps them into it.
_root = Path(__file__).resolve().parent.parent
if (_root / "kernels" / "__init__.py").exists() and (_root / "pyproject.toml").exists():
    __path__.append(str(_root))
del _root
