"""The options of ``bodvcl export``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from bodvcl.config.command_line import Positional, argument
from bodvcl.config.schema import STRICT, UserPath

Format = Literal["safetensors", "torchscript", "torch.export", "onnx", "hf"]


@dataclass(kw_only=True)
class ExportOptions:
    """Write a trained encoder in a format that other programs load.

    What was written is loaded again and compared with the encoder on random clips before it takes its place.
    """

    __pydantic_config__ = STRICT

    run: Annotated[Positional[UserPath], argument(metavar="RUN")]
    """Folder of a finished run of bodvcl train, or its checkpoint/encoder.pt.
    An export --to safetensors or hf will do, too, but not for --to hf."""
    to: Format
    """Format (docs/export.md).
    safetensors: the weights, with the configuration as JSON in the metadata.
    torchscript: for torch.jit.load, also in C++. PyTorch has deprecated it.
    torch.export: for torch.export.load.
    onnx: for onnxruntime and others.
    hf: a folder for the Hugging Face Hub, with a model card that is made from the run."""
    out: Annotated[UserPath, argument(metavar="PATH")]
    """The file, or the folder of --to hf. It must not exist."""
    license: Annotated[str | None, Field(min_length=1), argument(metavar="SPDX")] = None
    """Licence of the weights for the model card, as an SPDX identifier such as Apache-2.0 (only --to hf).
    None: the card says that none was stated."""
