"""A folder as the Hugging Face Hub has them: config.json, model.safetensors and the model card."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from bodvcl.errors import CheckpointError
from bodvcl.export.facts import EncoderFacts, facts_from_json
from bodvcl.export.weights_file import read_weights, weights_bytes
from bodvcl.models.encoder import VideoEncoder
from bodvcl.runs.folder import write_atomically

CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"
FILES = (CONFIG, WEIGHTS, CARD)
MODEL_CLASS = "VideoEncoderModel"
"""The class of :mod:`bodvcl.hub` that loads the folder."""


def write_hub_folder(folder: Path, encoder: VideoEncoder, facts: EncoderFacts, card: str) -> None:
    """Write the three files into an existing folder.

    Args:
        folder: the folder.
        encoder: the encoder.
        facts: what belongs to it.
        card: text of the model card.

    Raises:
        OSError: they cannot be written.
    """
    config = {"architectures": [MODEL_CLASS], **json.loads(facts.as_json())}
    write_atomically(folder / CONFIG, f"{json.dumps(config, indent=2)}\n".encode())
    write_atomically(folder / WEIGHTS, weights_bytes(encoder, facts))
    write_atomically(folder / CARD, card.encode())


def is_hub_folder(folder: Path) -> bool:
    """Whether a folder has the configuration and the weights."""
    return (folder / CONFIG).is_file() and (folder / WEIGHTS).is_file()


def read_hub_folder(folder: Path, device: torch.device | str = "cpu") -> tuple[VideoEncoder, EncoderFacts]:
    """The encoder in a folder, in evaluation mode.

    Raises:
        CheckpointError: a file is missing or damaged, or of a version that this one cannot read.
    """
    config = folder / CONFIG
    try:
        text = config.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(
            f"{config} cannot be read ({error}); expected a folder of bodvcl export --to hf"
        ) from error
    return read_weights(folder / WEIGHTS, device, facts_from_json(text, config))


def read_card(folder: Path) -> str:
    """Text of the model card of a folder; empty where there is none."""
    card = folder / CARD
    return card.read_text(encoding="utf-8") if card.is_file() else ""
