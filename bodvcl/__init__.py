"""bodvcl: video contrastive learning with decoupled static and dynamic semantics (BOD-VCL).

``import bodvcl`` is cheap: PyTorch is imported when one of the names below is used for the first time.

- :class:`DecoupledInfoNCE`: the method as one loss module, for a training loop of your own.
- :func:`load_encoder`: a trained encoder, ready for clips.
- :func:`koopman_split`, :func:`koopman_prediction_loss`, :func:`info_nce`: the operations that it is made of.
- :class:`BackendError`: raised where the backend that was asked for cannot serve a call.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from bodvcl._supported import check_releases

if TYPE_CHECKING:
    from bodvcl.losses import DecoupledInfoNCE
    from bodvcl.ops.backend import BackendError
    from bodvcl.ops.contrastive import info_nce
    from bodvcl.ops.koopman import koopman_prediction_loss, koopman_split
    from bodvcl.pretrained import load_encoder

__all__ = [
    "BackendError",
    "DecoupledInfoNCE",
    "__version__",
    "info_nce",
    "koopman_prediction_loss",
    "koopman_split",
    "load_encoder",
]

__version__ = "0.1.0"
"""The only place of the version: packages read it here, a test compares CITATION.cff and CHANGELOG.md."""

_HOMES = {
    "BackendError": "bodvcl.ops.backend",
    "DecoupledInfoNCE": "bodvcl.losses",
    "info_nce": "bodvcl.ops.contrastive",
    "koopman_prediction_loss": "bodvcl.ops.koopman",
    "koopman_split": "bodvcl.ops.koopman",
    "load_encoder": "bodvcl.pretrained",
}
"""Public name to the module that defines it; imported at first use."""

check_releases()


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'bodvcl' has no attribute {name!r}")
    value: object = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
