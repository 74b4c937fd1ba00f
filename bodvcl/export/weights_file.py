"""An encoder as one .safetensors file: its weights, and in the metadata what belongs to them as JSON."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from bodvcl.engine.checkpoint import rebuilt_encoder
from bodvcl.errors import CheckpointError
from bodvcl.export.facts import EncoderFacts, facts_from_json
from bodvcl.models.encoder import VideoEncoder

KEY = "bodvcl"
"""Key of the metadata that holds :class:`~bodvcl.export.facts.EncoderFacts` as JSON."""


def weights_bytes(encoder: VideoEncoder, facts: EncoderFacts) -> bytes:
    """The content of the file."""
    weights = {name: value.detach().cpu().contiguous() for name, value in encoder.state_dict().items()}
    return save(weights, {KEY: facts.as_json()})  # with a second key the order would be random


def read_weights(
    path: Path, device: torch.device | str = "cpu", facts: EncoderFacts | None = None
) -> tuple[VideoEncoder, EncoderFacts]:
    """The encoder in a .safetensors file, in evaluation mode.

    Args:
        path: the file.
        device: where the encoder is wanted.
        facts: what belongs to the weights; None: the metadata of the file says so.

    Raises:
        CheckpointError: no such file, damaged, not an encoder of bodvcl, or one that does not fit
            this version.
    """
    try:
        with safe_open(path, framework="pt", device=str(device)) as file:
            metadata = file.metadata() or {}
            weights: dict[str, Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError as error:
        raise CheckpointError(f"no file {path}") from error
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path} is not a readable .safetensors file ({error})") from error
    if facts is None and KEY not in metadata:
        raise CheckpointError(
            f"{path} holds no encoder of bodvcl; expected a file of bodvcl export --to safetensors"
        )
    facts = facts or facts_from_json(metadata[KEY], path)
    encoder = rebuilt_encoder(path, {"version": facts.version}, vars(facts.model), weights)
    return encoder.to(device).eval(), facts
