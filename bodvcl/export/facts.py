"""What belongs to the weights of an encoder in an exported file: its network, its clips, its training."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import bodvcl
from bodvcl.config.command_line import build
from bodvcl.config.schema import KoopmanConfig, ModelConfig, TrainConfig
from bodvcl.errors import CheckpointError, ConfigError

FORMAT = 1

T = TypeVar("T")


@dataclass(frozen=True)
class ClipFormat:
    """The clips that an encoder was trained on.

    Attributes:
        frames: frames per clip, L.
        stride: frames of the video from one frame of a clip to the next.
        fps: frame rate that videos were brought to before the stride was applied. None: their own.
        size: height and width in pixels.
        mean, std: normalisation of every channel, ``(rgb - mean) / std`` with RGB in [0, 1].
    """

    frames: int
    stride: int
    fps: float | None
    size: int
    mean: float
    std: float


@dataclass(frozen=True)
class EncoderFacts:
    """What belongs to the weights of an encoder.

    Attributes:
        version: release of bodvcl that wrote the encoder.
        step: steps that it was trained for.
        method: contrastive method of the training, such as "simclr".
        decouple: "none", "pred" or "bod".
        model: the network.
        clip: the clips that it was trained on.
        koopman: options of the split of its embeddings.
    """

    version: str
    step: int
    method: str
    decouple: str
    model: ModelConfig
    clip: ClipFormat
    koopman: KoopmanConfig

    def as_json(self) -> str:
        """The facts as text, for the metadata of a file."""
        return json.dumps({"format": FORMAT, **dataclasses.asdict(self)}, indent=1)


def clip_format(config: TrainConfig) -> ClipFormat:
    """The clips that a run was trained on."""
    clip, augment = config.clip, config.augment
    return ClipFormat(clip.frames, clip.stride, clip.fps, clip.size, augment.mean, augment.std)


def facts_of(state: Mapping[str, Any], config: TrainConfig) -> EncoderFacts:
    """The facts of the encoder of a run.

    Args:
        state: what its ``encoder.pt`` holds.
        config: configuration of the run.
    """
    model = ModelConfig(**state["model"])
    if model.weights is not None:  # where the file lay is the owner's business
        model = dataclasses.replace(model, weights=Path(model.weights).name)
    return EncoderFacts(
        version=str(state["version"]),
        step=int(state["step"]),
        method=config.method,
        decouple=config.decouple,
        model=model,
        clip=clip_format(config),
        koopman=config.koopman,
    )


def facts_from_json(text: str, source: Path) -> EncoderFacts:
    """The facts in an exported file.

    Args:
        text: as :meth:`EncoderFacts.as_json` wrote it, perhaps with further keys.
        source: the file, for messages.

    Raises:
        CheckpointError: not such a text, or one of a version that this one cannot read.
    """
    try:
        values = json.loads(text)
        if values["format"] != FORMAT:
            raise CheckpointError(
                f"{source} is of format {values['format']}, written by bodvcl {values.get('version', '?')}; "
                f"bodvcl {bodvcl.__version__} reads format {FORMAT}"
            )
        return EncoderFacts(
            version=str(values["version"]),
            step=int(values["step"]),
            method=str(values["method"]),
            decouple=str(values["decouple"]),
            model=build(ModelConfig, values["model"]),
            clip=build(ClipFormat, values["clip"]),
            koopman=build(KoopmanConfig, values["koopman"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{source} was not written by bodvcl export: {type(error).__name__} {error}"
        ) from error
    except ConfigError as error:
        raise CheckpointError(f"{source} does not fit bodvcl {bodvcl.__version__}: {error}") from error
