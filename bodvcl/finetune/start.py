"""What a fine-tuning starts from: the backbone, and the clips that it was trained on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from bodvcl.config.backbones import GEOMETRY
from bodvcl.config.methods import TITLES
from bodvcl.config.schema import ClipConfig, ModelConfig, TrainConfig
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
    start = _scratch(options) if options.checkpoint == SCRATCH else _checkpoint(options)
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


def _scratch(options: FinetuneOptions) -> Start:
    name = options.backbone or "tiny"
    model = ModelConfig(backbone=name, width=options.width)
    torch.manual_seed(options.seed)
    text = f"{name} from scratch: new weights, drawn with seed {options.seed}"
    clip = options.clip.override(ClipConfig())
    return Start(build_backbone(model), model, clip, options.augment.mean, options.augment.std, "", text)


def _checkpoint(options: FinetuneOptions) -> Start:
    path = Path(str(options.checkpoint))
    file = classifier_file(path)
    if file is not None:
        found = load_classifier(file)
        facts, backbone = found.facts, found.network.backbone
        text = (
            f"{facts.model.backbone} of the classifier {path}; its head for {len(facts.classes)} classes is "
            "replaced by a new one"
        )
        clip = options.clip.override(facts.clip)
        return Start(backbone, facts.model, clip, facts.mean, facts.std, facts.method, text)
    encoder, config = load_run(path)
    clip = options.clip.override(config.clip)
    text = f"{config.model.backbone} of {path}, pre-trained with {method_of(config)}"
    return Start(
        encoder.backbone, config.model, clip, config.augment.mean, config.augment.std, method_of(config), text
    )


def method_of(config: TrainConfig) -> str:
    """How a run was pre-trained, as tables name it: V-SimCLR + BOD-VCL."""
    added = {"none": "", "pred": " + L_pred", "bod": " + BOD-VCL"}[config.decouple]
    return f"{TITLES[config.method]}{added}"
