"""The network that is trained to detect actions: from a checkpoint, or from scratch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from bodvcl.config.backbones import GEOMETRY
from bodvcl.config.command_line import build
from bodvcl.config.schema import AugmentConfig, ClipConfig, ModelConfig
from bodvcl.detect.dilated import cell_size, dilate_last_stage, refuse_undilatable
from bodvcl.detect.options import SCRATCH, DetectOptions
from bodvcl.detect.reading import ClipShape
from bodvcl.detect.roi_head import ActionDetector
from bodvcl.engine.checkpoint import load_run
from bodvcl.errors import ConfigError
from bodvcl.models.backbones.base import Backbone
from bodvcl.models.backbones.build import build_backbone
from bodvcl.system.folders import expand

_FRAMES, _STRIDE = 8, 8  # from scratch, as Slow 8x8


@dataclass(frozen=True)
class Start:
    """What training starts from.

    Attributes:
        backbone: with its weights.
        clip: what its clips are.
        normalisation: mean and standard deviation of its input.
        method: how it was pre-trained; empty from scratch.
    """

    backbone: Backbone
    clip: ClipShape
    normalisation: tuple[float, float]
    method: str


def starting_point(options: DetectOptions) -> Start:
    """Load or build the backbone, and settle what its clips are.

    Raises:
        CheckpointError: the checkpoint cannot be read.
        ConfigError: a backbone that cannot dilate, or clips that it cannot take.
    """
    if options.checkpoint == SCRATCH:
        values = {"backbone": options.backbone or "slow_r50", "width": options.width}
        model = build(ModelConfig, values, name=lambda name: f"--{name}")
        clip, augment, method = ClipConfig(frames=_FRAMES, stride=_STRIDE), AugmentConfig(), ""
        torch.manual_seed(options.seed)
        backbone = build_backbone(model)
    else:
        assert options.checkpoint is not None  # detect_contradictions
        encoder, config = load_run(expand(options.checkpoint))
        backbone, clip, augment = encoder.backbone, config.clip, config.augment
        method = f"{config.method}-{config.decouple}"
    if options.dilate:
        refuse_undilatable(backbone.name)
    shape = clip_shape(options, clip, backbone.name)
    return Start(backbone, shape, (augment.mean, augment.std), method)


def clip_shape(options: DetectOptions, clip: ClipConfig, backbone: str) -> ClipShape:
    """The clips of a run: what the options leave open is as in the pre-training.

    Raises:
        ConfigError: the backbone cannot take them.
    """
    own, geometry = options.clip, GEOMETRY[backbone]
    frames = clip.frames if own.frames is None else own.frames
    try:
        geometry.frames_out(frames)
        geometry.check_size(own.size)
        if own.test_side < geometry.min_size:
            raise ValueError(f"{backbone} needs clips of {geometry.min_size} pixels or more in the test")
    except ValueError as error:
        raise ConfigError(f"clip: {error}") from error
    stride = clip.stride if own.stride is None else own.stride
    return ClipShape(
        frames, stride, own.fps, own.size, own.short_side, own.flip, own.test_side, geometry.size_step
    )


def action_detector(start: Start, options: DetectOptions, outputs: int) -> ActionDetector:
    """The network of a run; the weights of its head are drawn from the seed.

    Args:
        start: the backbone, changed in place.
        options: whether it is dilated, dropout and seed.
        outputs: number of actions.
    """
    backbone = dilate_last_stage(start.backbone) if options.dilate else start.backbone
    torch.manual_seed(options.seed)
    cell = cell_size(backbone.name, options.dilate)
    return ActionDetector(backbone, cell, outputs, options.dropout)


def checkpoint_name(options: DetectOptions) -> str | None:
    """The checkpoint as ``results.json`` names it; None: from scratch."""
    return None if options.checkpoint in (None, SCRATCH) else str(Path(options.checkpoint or ""))
