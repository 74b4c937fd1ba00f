"""Training with labels from a checkpoint: fine-tuning and linear evaluation, and their tests."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bodvcl.finetune.saved import TrainedClassifier, load_classifier

__all__ = ["TrainedClassifier", "load_classifier"]


def __getattr__(name: str) -> object:
    """The public names, imported at first use: the options of the command line need no PyTorch."""
    if name not in __all__:
        raise AttributeError(f"module 'bodvcl.finetune' has no attribute {name!r}")
    return getattr(import_module("bodvcl.finetune.saved"), name)
