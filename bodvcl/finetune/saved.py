"""A trained classifier in a file of its own, ``classifier.pt``: what other programs need to use it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import bodvcl
from bodvcl.config.schema import ClipConfig, ModelConfig
from bodvcl.data.clips.frames import clips_from_frames
from bodvcl.engine.checkpoint.file import (
    CLASSIFIER,
    ENCODER,
    FORMAT,
    LAST,
    first_lines,
    read_state,
    write_state,
)
from bodvcl.errors import CheckpointError
from bodvcl.finetune.network import VideoClassifier
from bodvcl.models.backbones.build import build_backbone
from bodvcl.system.folders import expand


@dataclass(frozen=True)
class ClassifierFacts:
    """What belongs to a classifier.

    Attributes:
        model: configuration of its backbone.
        classes: names of the classes, in the order of the logits.
        pooling: what the linear layer sees of a clip, "mean" or "mean_std".
        head_norm: whether this is standardised before.
        label: label column that was learned.
        multi_label: whether each class is decided by itself.
        clip: clips that it was trained on.
        mean, std: normalisation of every channel.
        method: how its backbone was pre-trained; empty: not known, or not at all.
    """

    model: ModelConfig
    classes: tuple[str, ...]
    pooling: str
    head_norm: bool
    label: str
    multi_label: bool
    clip: ClipConfig
    mean: float
    std: float
    method: str


class TrainedClassifier(nn.Module):
    """A trained classifier: clips to the probabilities of classes.

    Attributes:
        network: backbone and linear layer.
        facts: what belongs to it, such as the names of the classes.
    """

    def __init__(self, network: VideoClassifier, facts: ClassifierFacts) -> None:
        super().__init__()
        self.network = network
        self.facts = facts

    def prepare(self, frames: Tensor | np.ndarray) -> Tensor:
        """Frames as they were decoded to clips as the network takes them, as one centred view.

        Args:
            frames: uint8 RGB, ``(L, height, width, 3)`` for one clip or ``(N, L, height, width, 3)`` for N.

        Returns:
            ``(N, 3, L, size, size)`` float, on the device of the weights.

        Raises:
            TypeError: frames are not uint8.
            ValueError: another shape, or not as many frames as a clip has.
        """
        facts, weight = self.facts, next(self.network.parameters())
        return clips_from_frames(frames, facts.clip.frames, facts.clip.size, facts.mean, facts.std, weight)

    def forward(self, clips: Tensor) -> Tensor:
        """Probabilities ``(N, classes)``, float32, of clips ``(N, 3, L, height, width)``.

        Those of a clip sum to 1, unless a video can have several classes.
        """
        return probabilities(self.network(clips), self.facts.multi_label)


def probabilities(logits: Tensor, multi_label: bool) -> Tensor:
    """Softmax over the classes, or the sigmoid of each where a video can have several; ``(..., classes)``."""
    return logits.sigmoid() if multi_label else logits.softmax(-1)


def save_classifier(run_dir: Path, network: VideoClassifier, facts: ClassifierFacts) -> Path:
    """Write ``checkpoint/classifier.pt``.

    Raises:
        NotFinite: weights or statistics are NaN or infinite; an earlier file is untouched.
        CheckpointError: the disk is full or cannot be written; an earlier file is untouched.
    """
    return write_state(
        run_dir / CLASSIFIER,
        {
            "format": FORMAT,
            "version": bodvcl.__version__,
            "classifier": dataclasses.asdict(facts) | {"classes": list(facts.classes)},
            "network": {name: t.cpu() for name, t in network.state_dict().items()},
        },
    )


def load_classifier(path: str | Path, device: torch.device | str = "cpu") -> TrainedClassifier:
    """The classifier that a fine-tuning left.

    Args:
        path: folder of the run, or its ``checkpoint/classifier.pt``. No code in the file is run.
        device: where it is wanted.

    Returns:
        A module in evaluation mode, which maps clips to probabilities.

    Raises:
        CheckpointError: no such file, a run that is not finished, or another kind of file.
    """
    path = expand(path)
    file = path / CLASSIFIER if path.is_dir() else path
    if path.is_dir() and not file.exists():
        unfinished = (path / LAST).exists()
        raise CheckpointError(
            f"no classifier in {path}: "
            + (
                "its training was not finished; continue it with --resume"
                if unfinished
                else f"no {CLASSIFIER}"
            )
        )
    state = read_state(file, torch.device(device))
    if "classifier" not in state:
        raise CheckpointError(f"{file} holds no classifier; give a run of bodvcl finetune")
    try:
        facts = _facts(state["classifier"])
        backbone = build_backbone(facts.model)
        network = VideoClassifier(
            backbone, len(facts.classes), 0.0, trained=0, pooling=facts.pooling, head_norm=facts.head_norm
        )
        network.load_state_dict(state["network"])
    except (TypeError, ValueError, KeyError, RuntimeError) as error:
        raise CheckpointError(
            f"{file} was written by bodvcl {state.get('version', '(unknown)')} and does not fit bodvcl "
            f"{bodvcl.__version__} ({first_lines(error)}): use it with the version that wrote it"
        ) from error
    return TrainedClassifier(network.to(device), facts).eval()


def classifier_file(path: Path) -> Path | None:
    """The file of the classifier that a checkpoint is; None: it is something else.

    Raises:
        CheckpointError: it is a file that cannot be read.
    """
    if path.is_dir():
        return path / CLASSIFIER if (path / CLASSIFIER).exists() and not (path / ENCODER).exists() else None
    return path if "classifier" in read_state(path, torch.device("meta")) else None


def _facts(values: dict[str, Any]) -> ClassifierFacts:
    return ClassifierFacts(
        **values
        | {
            "model": ModelConfig(**values["model"]),
            "clip": ClipConfig(**values["clip"]),
            "classes": tuple(values["classes"]),
        }
    )
