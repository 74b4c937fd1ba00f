"""The clips and the network of a detection: what the checkpoint and the options say together."""

from __future__ import annotations

import torch

from bodvcl.config.backbones import GEOMETRY
from bodvcl.config.schema import BackboneName, ClipConfig
from bodvcl.detect.clips import ClipShape
from bodvcl.detect.dilated import cell_size, dilate_last_stage, refuse_undilatable
from bodvcl.detect.options import DetectOptions
from bodvcl.detect.roi_head import ActionDetector
from bodvcl.errors import ConfigError
from bodvcl.finetune.options import SCRATCH
from bodvcl.finetune.start import Start, open_backbone


def open_start(options: DetectOptions) -> tuple[Start, ClipShape]:
    """The backbone with its weights, and the clips that it is trained on.

    Raises:
        CheckpointError: the checkpoint cannot be read.
        ConfigError: a backbone that cannot dilate, or clips that it cannot take.
    """
    if options.checkpoint == SCRATCH:  # building it takes longer than finding out that it does not fit
        _shape(options, options.backbone or "tiny", ClipConfig())
    start = open_backbone(str(options.checkpoint), options.backbone, options.width, options.seed)
    return start, _shape(options, start.model.backbone, start.clip)


def _shape(options: DetectOptions, name: BackboneName, clip: ClipConfig) -> ClipShape:
    """The clips of a backbone that was trained on other clips."""
    own, geometry = options.clip, GEOMETRY[name]
    if options.dilate:
        refuse_undilatable(name)
    frames = clip.frames if own.frames is None else own.frames
    stride = clip.stride if own.stride is None else own.stride
    try:
        geometry.frames_out(frames)
        geometry.check_size(own.size)
        if own.test_side < geometry.min_size:
            raise ValueError(f"test_side: {name} needs {geometry.min_size} pixels or more")
    except ValueError as error:
        raise ConfigError(f"clip: {error}") from error
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
