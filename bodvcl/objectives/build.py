"""The objective of a configuration."""

from __future__ import annotations

import copy

import torch

from bodvcl.config.schema import TrainConfig
from bodvcl.models.backbones.base import Backbone
from bodvcl.models.encoder import VideoEncoder
from bodvcl.models.streams import stream_names
from bodvcl.objectives.base import Objective
from bodvcl.objectives.byol import BYOL
from bodvcl.objectives.dualvar import DualVar
from bodvcl.objectives.hdc import HDC
from bodvcl.objectives.moco import MoCo
from bodvcl.objectives.simclr import SimCLR
from bodvcl.objectives.swav import SwAV


def build_objective(config: TrainConfig, encoder: VideoEncoder) -> Objective:
    """The objective with untrained parts; draws their weights from PyTorch's global generator.

    Args:
        config: method and its options.
        encoder: whose widths the parts must fit; it is not changed.
    """
    names, model = stream_names(config.decouple), config.model
    match config.method:
        case "simclr":
            return SimCLR(config.objective.tau)
        case "moco":
            moco = config.moco
            return MoCo(names, model.embed_dim, config.objective.tau, moco.queue, moco.momentum)
        case "byol":
            return BYOL(names, model.embed_dim, model.hidden_dim, config.byol.momentum)
        case "swav":
            swav = config.swav
            return SwAV(
                names,
                model.embed_dim,
                config.objective.tau,
                swav.prototypes,
                swav.epsilon,
                swav.iterations,
                swav.freeze,
            )
        case "dualvar":
            dual = config.dualvar
            return DualVar(encoder.backbone.dim, dual.segments, dual.series_dim, dual.tau, dual.theta)
        case "hdc":
            return HDC(
                stage_dims(encoder.backbone, config)[-config.hdc.depths :],
                model.hidden_dim,
                model.embed_dim,
                model.projector_layers,
                model.projector_norm,
                config.objective.tau,
            )
    raise AssertionError(config.method)


def stage_dims(backbone: Backbone, config: TrainConfig) -> list[int]:
    """Widths of the backbone's features at its depths, from a pass that computes nothing."""
    clip = config.clip
    empty = torch.empty(1, 3, clip.frames, clip.size, clip.size, device="meta")
    with torch.no_grad():
        return [x.shape[-1] for x in copy.deepcopy(backbone).to("meta").eval().stages(empty)]
