"""The objective of a run, by the name of its method. A new method is registered here."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch

from bodvcl.config.schema import (
    ByolConfig,
    ClipConfig,
    DualvarConfig,
    HdcConfig,
    MocoConfig,
    ModelConfig,
    SwavConfig,
)
from bodvcl.models.backbones.base import Backbone
from bodvcl.models.encoder import VideoEncoder
from bodvcl.objectives.base import Objective
from bodvcl.objectives.byol import BYOL
from bodvcl.objectives.dualvar import DualVar
from bodvcl.objectives.hdc import HDC
from bodvcl.objectives.moco import MoCo
from bodvcl.objectives.simclr import SimCLR
from bodvcl.objectives.swav import SwAV


@dataclass(frozen=True)
class ObjectiveOptions:
    """What objectives take from the configuration of a run.

    Attributes:
        streams: names of the streams, in order.
        tau: temperature of the methods that have no temperature of their own.
        model: widths of the projector, which the objective's own parts follow.
        clip: size and length of a clip.
        moco, byol, swav, dualvar, hdc: options of one method each.
    """

    streams: tuple[str, ...]
    tau: float
    model: ModelConfig
    clip: ClipConfig
    moco: MocoConfig
    byol: ByolConfig
    swav: SwavConfig
    dualvar: DualvarConfig
    hdc: HdcConfig


def _simclr(options: ObjectiveOptions, encoder: VideoEncoder) -> Objective:
    return SimCLR(options.tau)


def _moco(options: ObjectiveOptions, encoder: VideoEncoder) -> Objective:
    own = options.moco
    return MoCo(options.streams, options.model.embed_dim, options.tau, own.queue, own.momentum)


def _byol(options: ObjectiveOptions, encoder: VideoEncoder) -> Objective:
    model = options.model
    return BYOL(options.streams, model.embed_dim, model.hidden_dim, options.byol.momentum)


def _swav(options: ObjectiveOptions, encoder: VideoEncoder) -> Objective:
    own = options.swav
    return SwAV(
        options.streams,
        options.model.embed_dim,
        options.tau,
        own.prototypes,
        own.epsilon,
        own.iterations,
        own.freeze,
    )


def _dualvar(options: ObjectiveOptions, encoder: VideoEncoder) -> Objective:
    own = options.dualvar
    return DualVar(encoder.backbone.dim, own.segments, own.series_dim, own.tau, own.theta)


def _hdc(options: ObjectiveOptions, encoder: VideoEncoder) -> Objective:
    model = options.model
    return HDC(
        stage_dims(encoder.backbone, options.clip)[-options.hdc.depths :],
        model.hidden_dim,
        model.embed_dim,
        model.projector_layers,
        model.projector_norm,
        options.tau,
    )


OBJECTIVES: dict[str, Callable[[ObjectiveOptions, VideoEncoder], Objective]] = {
    "simclr": _simclr,
    "moco": _moco,
    "byol": _byol,
    "swav": _swav,
    "dualvar": _dualvar,
    "hdc": _hdc,
}
"""How each method's objective is built, by the name that ``--method`` takes."""


def build_objective(method: str, options: ObjectiveOptions, encoder: VideoEncoder) -> Objective:
    """The objective of a method, untrained; draws its weights from PyTorch's global generator.

    Args:
        method: a key of :data:`OBJECTIVES`.
        options: options of the methods.
        encoder: the encoder that is trained; the objective's parts get its widths. It is not changed.
    """
    return OBJECTIVES[method](options, encoder)


def stage_dims(backbone: Backbone, clip: ClipConfig) -> list[int]:
    """Widths of the backbone's features at its depths, found on the meta device: nothing is computed."""
    clips = torch.empty(1, 3, clip.frames, clip.size, clip.size, device="meta")
    with torch.no_grad():
        return [x.shape[-1] for x in copy.deepcopy(backbone).to("meta").eval().stages(clips)]
