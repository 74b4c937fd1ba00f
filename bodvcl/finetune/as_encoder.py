"""The backbone of a fine-tuned network as an encoder that can be probed like that of a pre-training."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from bodvcl.config.parse import validate
from bodvcl.config.schema import AugmentConfig, TrainConfig
from bodvcl.engine.checkpoint import load_run
from bodvcl.engine.learner import untrained_encoder
from bodvcl.errors import ConfigError
from bodvcl.evaluate.options import UNTRAINED, ProbeOptions
from bodvcl.finetune.saved import classifier_file, load_classifier
from bodvcl.models.encoder import VideoEncoder


def load_run_or_classifier(path: Path) -> tuple[VideoEncoder, TrainConfig]:
    """As :func:`~bodvcl.engine.checkpoint.load_run`; of a fine-tuning, its backbone with a new projector.

    The configuration of a fine-tuning has its network, clips and normalisation; all else are defaults.

    Raises:
        CheckpointError: neither an encoder nor a classifier, or a file that cannot be read.
    """
    file = classifier_file(path)
    if file is None:
        return load_run(path)
    found = load_classifier(file)
    facts = found.facts
    augment = AugmentConfig(mean=facts.mean, std=facts.std)
    config = dataclasses.replace(TrainConfig(), model=facts.model, clip=facts.clip, augment=augment)
    encoder = untrained_encoder(facts.model, config.seed)
    encoder.backbone = found.network.backbone
    return encoder.eval(), validate(dataclasses.asdict(config))


def refuse_without_run(options: ProbeOptions) -> None:
    """Refuse what a fine-tuning cannot give to a probe: the data of a pre-training, and a trained projector.

    Raises:
        ConfigError: such options.
        CheckpointError: a checkpoint that cannot be read.
    """
    if options.data is not None and not options.streams:
        return
    given = [options.checkpoint] + ([] if options.against in (None, UNTRAINED) else [Path(options.against)])
    tuned = [path for path in given if classifier_file(path) is not None]
    if tuned and options.streams:
        raise ConfigError(f"--streams: {tuned[0]} was fine-tuned and has no projector; drop it")
    if options.checkpoint in tuned and options.data is None:
        raise ConfigError(f"--data: {options.checkpoint} was fine-tuned; say which labelled videos to probe")
