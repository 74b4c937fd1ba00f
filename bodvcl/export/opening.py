"""Any file or folder that holds an encoder of bodvcl, opened."""

from __future__ import annotations

import zipfile
from pathlib import Path

import torch

from bodvcl.engine.checkpoint import read_encoder, rebuilt_encoder, saved_config
from bodvcl.errors import CheckpointError
from bodvcl.export.facts import EncoderFacts, facts_of
from bodvcl.export.hub_folder import is_hub_folder, read_hub_folder
from bodvcl.export.weights_file import read_weights
from bodvcl.models.encoder import VideoEncoder


def open_encoder(path: Path, device: torch.device | str = "cpu") -> tuple[VideoEncoder, EncoderFacts]:
    """The encoder in a run, in its ``encoder.pt``, or in an export that keeps the network.

    Args:
        path: folder of a run, ``encoder.pt``, a .safetensors file, or a folder of ``--to hf``.
        device: where the encoder is wanted.

    Returns:
        the encoder in evaluation mode, and what belongs to it.

    Raises:
        CheckpointError: no such file or folder, a run that is not finished, or a file that holds no encoder
            of bodvcl; where another library loads it, the message says which.
    """
    if is_export(path):
        return read_hub_folder(path, device) if path.is_dir() else read_weights(path, device)
    if loader := loaded_by(path):
        raise CheckpointError(
            f"{path} holds the computation of an encoder, which bodvcl cannot turn back into one: load it "
            f"with {loader}, or give the run or its export --to safetensors or hf"
        )
    file, state = read_encoder(path, device)
    encoder = rebuilt_encoder(file, state, state["model"], state["encoder"])
    return encoder.to(device).eval(), facts_of(state, saved_config(file, state))


def is_export(path: Path) -> bool:
    """Whether a path is an export that keeps the network: a .safetensors file or a folder for the Hub."""
    return is_hub_folder(path) if path.is_dir() else path.suffix == ".safetensors"


def loaded_by(path: Path) -> str | None:
    """The call that loads a file of another program; None: it is none."""
    if path.suffix == ".onnx" and path.is_file():
        return f"onnxruntime.InferenceSession({str(path)!r})"
    if not path.is_file() or not zipfile.is_zipfile(path):
        return None
    try:
        names = zipfile.ZipFile(path).namelist()
    except zipfile.BadZipFile:  # whoever reads it says so
        return None
    inside = {name.partition("/")[2] for name in names}
    if "constants.pkl" in inside:
        return f"torch.jit.load({str(path)!r})"
    if "archive_format" in inside:
        return f"torch.export.load({str(path)!r})"
    return None
