"""What a fine-tuning starts from: the backbone, and the clips that it was trained on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from bodvcl.config.backbones import GEOMETRY
from bodvcl.config.methods import method_title
from bodvcl.config.schema import AugmentConfig, BackboneName, ClipConfig, ModelConfig, TrainConfig
from bodvcl.engine.checkpoint import load_run
from bodvcl.errors import ConfigError
from bodvcl.finetune.options import SCRATCH, FinetuneOptions
from bodvcl.finetune.saved import classifier_file, load_classifier
from bodvcl.models.backbones.base import Backbone
from bodvcl.models.backbones.build import build_backbone


@dataclass(frozen=True)
class Start:
    """A backbone and what belongs to it.

    Attributes:
        backbone: with its weights.
        model: its configuration.
        clip: clips to train on: those of the checkpoint, with the options that are given.
        mean, std: normalisation of every channel.
        method: how it was pre-trained, as tables name it; empty: not known, or not at all.
        text: one line for the user.
    """

    backbone: Backbone
    model: ModelConfig
    clip: ClipConfig
    mean: float
    std: float
    method: str
    text: str


def open_start(options: FinetuneOptions) -> Start:
    """Read the checkpoint, or make new weights from the seed.

    Raises:
        CheckpointError: it cannot be read, or is no checkpoint of an encoder or a classifier.
        ConfigError: the clips do not fit the backbone.
    """
    start = open_backbone(str(options.checkpoint), options.backbone, options.width, options.seed)
    start = replace(start, clip=options.clip.override(start.clip))
    if options.checkpoint == SCRATCH:
        start = replace(start, mean=options.augment.mean, std=options.augment.std)
    geometry, clip = GEOMETRY[start.model.backbone], start.clip
    try:
        geometry.frames_out(clip.frames)
        geometry.check_size(clip.size)
    except ValueError as error:
        raise ConfigError(f"clip: {error}") from error
    if options.test.size is not None:
        try:
            geometry.check_size(options.test.size)
        except ValueError as error:
            raise ConfigError(f"test.size: {error}") from error
    return start


def open_backbone(checkpoint: str, backbone: BackboneName | None, width: int, seed: int) -> Start:
    """A backbone with the clips that it was trained on, whatever other options say.

    Args:
        checkpoint: folder of a run, its ``encoder.pt`` or ``classifier.pt``, or "scratch".
        backbone: network from scratch. None: tiny.
        width: width of the tiny backbone from scratch.
        seed: seed of new weights.

    Raises:
        CheckpointError: it cannot be read, or is no checkpoint of an encoder or a classifier.
    """
    if checkpoint == SCRATCH:
        model, augment = ModelConfig(backbone=backbone or "tiny", width=width), AugmentConfig()
        torch.manual_seed(seed)
        text = f"{model.backbone} from scratch: new weights, drawn with seed {seed}"
        return Start(build_backbone(model), model, ClipConfig(), augment.mean, augment.std, "", text)
    path = Path(checkpoint)
    file = classifier_file(path)
    if file is not None:
        found = load_classifier(file)
        facts = found.facts
        text = (
            f"{facts.model.backbone} of the classifier {path}; its head for {len(facts.classes)} classes is "
            "replaced by a new one"
        )
        return Start(
            found.network.backbone, facts.model, facts.clip, facts.mean, facts.std, facts.method, text
        )
    encoder, config = load_run(path)
    augment, method = config.augment, method_of(config)
    text = f"{config.model.backbone} of {path}, pre-trained with {method}"
    return Start(encoder.backbone, config.model, config.clip, augment.mean, augment.std, method, text)


def method_of(config: TrainConfig) -> str:
    """How a run was pre-trained, as tables name it: V-SimCLR + BOD-VCL."""
    return method_title(config.method, config.decouple)
